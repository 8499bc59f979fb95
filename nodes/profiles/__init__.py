"""Measured speed of another machine, and delays that reproduce it."""
