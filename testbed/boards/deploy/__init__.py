"""Deployment of programs, models and the agent to a board."""
