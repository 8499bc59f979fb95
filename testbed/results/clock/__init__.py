"""Scenario time in the results: how it passed, and whether this machine kept up with it."""
