"""Measures a live path between two machines and makes a trace of it."""
