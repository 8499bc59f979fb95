"""Dishes during a run."""
