"""Support for tests: programs to run, links to play, and waiting for conditions."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
