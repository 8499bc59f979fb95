"""Checks of a board before it is used: its attachment to this machine, and the system that it runs."""
