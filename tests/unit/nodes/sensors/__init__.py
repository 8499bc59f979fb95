"""Sensors, checked against the documentation of the vendors."""
