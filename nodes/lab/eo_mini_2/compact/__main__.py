"""Command line of the compact model's training: `python -m nodes.lab.eo_mini_2.compact --help`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m nodes.lab.eo_mini_2.compact",
        description="Train a compact model on eo-mini-2. The same command goes on with an ended training.",
    )
    parser.add_argument("folder", type=Path, help="output folder")
    parser.add_argument("--steps", type=int, default=9000, metavar="N", help="steps (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="random seed (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="threads (default: %(default)s)")
    options = parser.parse_args(arguments)
    import torch

    from nodes.lab.eo_mini_2.compact.train import Training

    torch.set_num_threads(options.threads)
    try:
        Training(options.folder, options.steps, options.seed).run(_report)
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _report(step: int, steps: int, losses: dict[str, float]) -> None:
    print(
        f"step {step} of {steps}: " + ", ".join(f"{name} {loss:.3f}" for name, loss in losses.items()),
        flush=True,
    )


if __name__ == "__main__":
    raise SystemExit(main())
