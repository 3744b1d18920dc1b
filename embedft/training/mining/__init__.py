"""Hard negatives: exact search, the choice among the nearest, and their use in a run."""
