"""`spaceverse export tensorboard`: runs for TensorBoard, side by side."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from testbed.cli.export.folder import add_folder_options, check_new
from testbed.cli.terminal.messages import say
from testbed.export.extras import check_package

_EPILOG = """examples:
  spaceverse export tensorboard runs/20261123T120000-dove_pass -o board
  spaceverse export tensorboard runs/* -o board
  tensorboard --logdir board

Weights & Biases reads the same files: wandb sync board/NAME. For MLflow and others see docs/exports.md.
"""


def add_parser(subparsers: Any) -> None:
    """Add the subcommand `tensorboard`."""
    parser = subparsers.add_parser(
        "tensorboard",
        help="write parameters and figures of runs for TensorBoard",
        description="Write parameters and figures of runs as event files of TensorBoard.",
        epilog=_EPILOG,
    )
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folder of a run")
    add_folder_options(parser, "folder to write a folder per run to")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    check_package("tensorboardX", "TensorBoard")
    from testbed.export.sources import read_results
    from testbed.export.tracking import TensorBoardTracker, track_run

    for run in arguments.runs:
        read_results(run)  # every run is checked before the first is written
    names = [run.resolve().name for run in arguments.runs]
    check_new(arguments.output, names, force=arguments.force)
    for run, name in zip(arguments.runs, names, strict=True):
        for old in (arguments.output / name).glob("events.out.tfevents.*"):
            old.unlink()  # TensorBoard would show both
        with TensorBoardTracker(arguments.output / name) as tracker:
            track_run(run, tracker)
    say(f"wrote {', '.join(names)} to {arguments.output}")
    return 0
