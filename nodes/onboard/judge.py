"""Confidence network and attention heads used by on-board policies.

`spaceverse eval` writes them into the folder `confidence/` of its results; a satellite's configuration names
that folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nodes.contract.files import FILE, network_sha256, network_version
from nodes.errors import ConfidenceError
from nodes.onboard.confidence import ConfidenceNetwork, Floats, files_of
from nodes.onboard.layout import Layout

Heads = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Judge:
    """Confidence at a stage, and relevance of regions.

    Attributes:
        network: The confidence network; None if only the tokens' confidence is available.
        target: The network's target that policies see.
        heads: (layer, head) pairs whose attention scores regions; empty for the mean of all heads.
        layout: The grid and the stages that network and heads were made for.
        version: What events call the network; None without one that was read from files.
    """

    network: ConfidenceNetwork | None = None
    target: str = "correctness"
    heads: Heads = ()
    layout: Layout = field(default_factory=Layout)
    version: str | None = None

    def confidence(self, stage: int, features: Floats) -> float | None:
        """Return the network's confidence at a stage, or None if it has no head for the stage."""
        return None if self.network is None else self.network.confidence(self.target, stage, features)

    def scores(self, attention: NDArray[np.float32]) -> list[float]:
        """Return the relevance of each region: the mean attention of the chosen heads.

        Args:
            attention: float32[layers, heads, regions].
        """
        weights = attention.astype(np.float64)
        scores = (
            np.mean([weights[layer, head] for layer, head in self.heads], axis=0)
            if self.heads
            else weights.mean((0, 1))
        )
        return [float(score) for score in scores]

    def save(self, folder: Path, about: Mapping[str, Any]) -> None:
        """Write everything into a folder.

        Args:
            folder: The folder; created if missing.
            about: Further information to store, such as the data that the network was trained on.

        Raises:
            ConfidenceError: There is no network.
        """
        if self.network is None:
            raise ConfidenceError(f"{folder}: no network was trained, so none can be saved")
        self.network.about.update(
            about, target=self.target, heads=[list(pair) for pair in self.heads], layout=self.layout.to_json()
        )
        self.network.save(folder)

    @classmethod
    def load(cls, folder: Path) -> Judge:
        """Read a folder that `save` wrote.

        Raises:
            ConfidenceError: The folder cannot be used.
        """
        return cls.of_files(files_of(folder), folder)

    @classmethod
    def of_files(cls, files: Mapping[str, bytes], place: Path | str) -> Judge:
        """Read the files of a folder that `save` wrote.

        Args:
            files: Their contents, by name.
            place: Where they are from, for errors.

        Raises:
            ConfidenceError: They cannot be used.
        """
        network = ConfidenceNetwork.of_files(files, place)
        about, version = network.about, network_version(network_sha256(files))
        try:
            heads = tuple((int(layer), int(head)) for layer, head in about["heads"])
            return cls(network, str(about["target"]), heads, Layout.from_json(about["layout"]), version)
        except (TypeError, KeyError, ValueError) as error:
            reason = f"{type(error).__name__} in {FILE}"
            raise ConfidenceError(f"{place} cannot be used ({reason}): train it again") from error
