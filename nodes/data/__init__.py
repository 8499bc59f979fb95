"""Data that ship: `EO_MINI`, the benchmark's test split; `FIRST_LIGHT`, sixteen of its prompts."""

from pathlib import Path

EO_MINI = Path(__file__).resolve().parent / "eo-mini"
FIRST_LIGHT = Path(__file__).resolve().parent / "first-light"
