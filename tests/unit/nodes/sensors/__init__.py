"""Sensors, against what the vendors document."""
