"""Whether a free-text answer is right: one rule for `spaceverse eval`, reports of runs and `ask --truth`."""

from nodes.contract.answers.matching import is_right

__all__ = ["is_right"]
