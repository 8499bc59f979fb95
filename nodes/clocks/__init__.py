"""Comparison of a node's clock with the run's clock."""
