"""Frames that ship: each folder holds images, `prompts.jsonl` and a data card."""

from pathlib import Path

FIRST_LIGHT = Path(__file__).resolve().parent / "first-light"
EO_MINI = Path(__file__).resolve().parent / "eo-mini"
