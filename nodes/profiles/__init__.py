"""Measured speed of another machine, and delaying of answers to its pace."""
