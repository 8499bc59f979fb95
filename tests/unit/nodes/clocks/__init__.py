"""Comparison of two clocks."""
