"""Command line of a training."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nodes.lab.eo_mini_2.learning.loop import Training

Make = Callable[[Path, int, int], "Training"]


def train(name: str, steps: int, make: Make, arguments: Sequence[str] | None) -> int:
    """Train, and return the exit status.

    Args:
        name: "compact" or "regular".
        steps: Steps by default.
        make: Makes the training from folder, steps and seed; imports torch.
        arguments: The command line; None for that of the process.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m nodes.lab.eo_mini_2.{name}",
        description=f"Train a {name} model on eo-mini-2. The same command goes on with an ended training.",
    )
    parser.add_argument("folder", type=Path, help="output folder")
    parser.add_argument("--steps", type=int, default=steps, metavar="N", help="steps (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="random seed (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="threads (default: %(default)s)")
    options = parser.parse_args(arguments)
    import torch  # slow

    torch.set_num_threads(options.threads)
    try:
        make(options.folder, options.steps, options.seed).run(_report)
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _report(step: int, steps: int, losses: dict[str, float]) -> None:
    print(
        f"step {step} of {steps}: " + ", ".join(f"{name} {loss:.3f}" for name, loss in losses.items()),
        flush=True,
    )
