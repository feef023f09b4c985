"""Floor 4: experiments over feeds."""
