"""Floor 7: the HTTP service."""
