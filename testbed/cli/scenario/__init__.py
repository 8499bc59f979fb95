"""Subcommands of a scenario: plan it, run it."""
