"""Shipped data sets.

EO_MINI         test split of the eo-mini benchmark
EO_MINI_VAL     its validation split, to choose thresholds on
FIRST_LIGHT     sixteen prompts of the test split, for a first run
"""

from pathlib import Path

_FOLDER = Path(__file__).resolve().parent
EO_MINI = _FOLDER / "eo-mini"
EO_MINI_VAL = _FOLDER / "eo-mini-val"
FIRST_LIGHT = _FOLDER / "first-light"
