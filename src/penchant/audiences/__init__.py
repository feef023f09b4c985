"""Floor 4: a seed list of users grown into the n most alike."""
