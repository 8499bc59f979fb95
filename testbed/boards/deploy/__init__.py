"""Brings programs, models and the agent to a board."""
