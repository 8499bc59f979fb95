"""Results of an evaluation: figures of each policy, and comparisons over places."""
