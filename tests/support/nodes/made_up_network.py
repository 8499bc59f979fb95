"""A confidence network for the shipped compact model that always says the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nodes.models import COMPACT
from nodes.onboard.confidence import END, PROMPT_BUCKETS, ConfidenceNetwork, Head
from nodes.onboard.judge import Judge
from nodes.vlm.folder import fingerprint

STATE, PROBABILITIES = 128, 3  # of the compact model; its visual features are twice as many


def head(features: int, says: float) -> Head:
    zeros = np.zeros
    offset = np.array([np.log(says / (1 - says))])
    return Head(
        zeros(features), np.ones(features), zeros((features, 1)), zeros((1, 1)), zeros(1), zeros(1), offset
    )


def write_network(folder: Path, says: float, *, weights: str | None = None) -> Path:
    """Write one; return its folder.

    Args:
        folder: the folder.
        says: its confidence.
        weights: fingerprint of the model that it claims to be trained for; None: the compact one's.
    """
    later = head(STATE + PROBABILITIES + PROMPT_BUCKETS, says)
    heads = {0: head(2 * STATE + PROMPT_BUCKETS, says), 1: later, END: later}
    made = Judge(ConfidenceNetwork({"correctness": heads}, {}))
    made.save(folder, {"weights": fingerprint(COMPACT) if weights is None else weights})
    return folder
