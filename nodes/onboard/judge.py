"""What looks over the compact model's shoulder: the confidence network, and the heads that find regions.

`spaceverse eval` writes one below its results (`confidence/`); a satellite's configuration names the folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nodes.errors import ConfidenceError
from nodes.onboard.confidence import ConfidenceNetwork, Floats
from nodes.onboard.layout import Layout

Heads = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Judge:
    """Confidence at a stage, and relevance of regions.

    Args:
        network: None where none was trained; then there is no confidence but that of the tokens.
        target: which of its targets a policy sees.
        heads: (layer, head) whose attention scores regions; none stands for the mean of all.
        layout: the grid and the stages for which it was made.
    """

    network: ConfidenceNetwork | None = None
    target: str = "correctness"
    heads: Heads = ()
    layout: Layout = field(default_factory=Layout)

    def confidence(self, stage: int, features: Floats) -> float | None:
        """Of the network at a stage; None where it has no head for it."""
        return None if self.network is None else self.network.confidence(self.target, stage, features)

    def scores(self, attention: NDArray[np.float32]) -> list[float]:
        """Relevance of each region: mean attention of the chosen heads.

        Args:
            attention: float32[layers, heads, regions].
        """
        looked = attention.astype(np.float64)
        chosen = (
            np.mean([looked[layer, head] for layer, head in self.heads], axis=0)
            if self.heads
            else looked.mean((0, 1))
        )
        return [float(score) for score in chosen]

    def save(self, folder: Path, about: Mapping[str, Any]) -> None:
        """Write everything into a folder, with what else is known about it."""
        if self.network is None:
            raise ConfidenceError(f"{folder}: no network was trained, so there is none to keep")
        self.network.about.update(
            about, target=self.target, heads=[list(pair) for pair in self.heads], layout=self.layout.to_json()
        )
        self.network.save(folder)

    @classmethod
    def load(cls, folder: Path) -> Judge:
        """Read what `save` wrote. Raises ConfidenceError (one line)."""
        network = ConfidenceNetwork.load(folder)
        about = network.about
        try:
            heads = tuple((int(layer), int(head)) for layer, head in about["heads"])
            return cls(network, str(about["target"]), heads, Layout.from_json(about["layout"]))
        except (TypeError, KeyError, ValueError) as error:
            reason = f"{type(error).__name__} in what it was trained for"
            raise ConfidenceError(f"{folder} cannot be used ({reason}): train it again") from error
