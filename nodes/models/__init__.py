"""The shipped pair of models: `COMPACT` for a satellite, `REGULAR` for a ground station.

They stand in for models of the 2B and 7B class; the README.md in each folder lists their measurements.
`CONFIDENCE` is the compact model's confidence network, `POLICY_PARAMETERS` the thresholds of all policies;
`spaceverse eval` selected both for this pair (docs/models-and-policies.md).
"""

from pathlib import Path

FOLDER = Path(__file__).resolve().parent
COMPACT = FOLDER / "compact"
REGULAR = FOLDER / "regular"
CONFIDENCE = COMPACT / "confidence"
POLICY_PARAMETERS = COMPACT / "policies.json"
