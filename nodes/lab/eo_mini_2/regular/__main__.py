"""Command line of the regular model's training: `python -m nodes.lab.eo_mini_2.regular --help`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nodes.lab.eo_mini_2.learning.command import train

if TYPE_CHECKING:
    from nodes.lab.eo_mini_2.learning.loop import Training

_STEPS = 9000


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, and return the exit status."""
    return train("regular", _STEPS, _training, arguments)


def _training(folder: Path, steps: int, seed: int) -> Training:
    from nodes.lab.eo_mini_2.regular.train import RegularTraining  # slow

    return RegularTraining(folder, steps, seed)


if __name__ == "__main__":
    raise SystemExit(main())
