"""Helpers of the tests: programs that they run, links that they play, and waiting for what comes."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
