"""Faults of a scenario during its run."""
