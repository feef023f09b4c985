"""Floor 2: features computed by one code for training replay and live serving."""
