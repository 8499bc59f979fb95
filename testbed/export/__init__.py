"""Runs, scenarios and traces in the formats of other programs."""
