"""Floor 3: bandit policies and propensities."""
