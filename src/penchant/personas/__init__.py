"""Floor 4: clusters of users with a readable profile, and the cold start."""
