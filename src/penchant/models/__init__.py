"""Floor 3: recipes and the models they train, one file a family."""
