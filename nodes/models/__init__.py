"""The pair of models that ships: `COMPACT` for a satellite, `REGULAR` for a ground station.

They stand in for models of the 2B and 7B class; each folder's README.md says what was measured.
"""

from pathlib import Path

FOLDER = Path(__file__).resolve().parent
COMPACT = FOLDER / "compact"
REGULAR = FOLDER / "regular"
