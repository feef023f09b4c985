"""Floor 4: protocols, metrics and the leaderboard."""
