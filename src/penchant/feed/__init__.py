"""Floor 4: sources, rules, ranker and mixer in run order: a feed."""
