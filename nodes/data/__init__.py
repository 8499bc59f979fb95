"""Frames that ship: `FIRST_LIGHT` holds images, `prompts.jsonl` and their data card."""

from pathlib import Path

FIRST_LIGHT = Path(__file__).resolve().parent / "first-light"
