"""`spaceverse report`: figures of finished runs side by side."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

from testbed.cli.scenario.comparison import ComparedRun, comparison_table
from testbed.cli.terminal.console import console
from testbed.errors import InputError

_EPILOG = """examples:
  spaceverse report runs/20261123T120000-dove_pass
  # policies, links or dates side by side
  spaceverse report runs/*-dove_pass runs/*-dove_pass-ground-only

The accuracy has a 95 % interval (Wilson). The mean time is over the frames that all runs answered.
"""


def add_parser(subparsers: Any) -> None:
    """Add the subcommand `report`."""
    parser = subparsers.add_parser(
        "report",
        help="show figures of finished runs side by side",
        description="Show answers, accuracy, bytes and times of finished runs side by side.",
        epilog=_EPILOG,
    )
    parser.add_argument("folders", type=Path, nargs="+", metavar="RUN", help="folder of a run")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    folders = list(dict.fromkeys(folder.resolve() for folder in arguments.folders))
    labels = _labels(folders)
    runs = [_run_of(folder, label) for folder, label in zip(folders, labels, strict=True)]
    console().print(comparison_table(runs, title="runs side by side", first="run"))
    return 0


def _labels(folders: list[Path]) -> list[str]:
    """Return the names of the folders; the paths of those whose names are the same."""
    count = Counter(folder.name for folder in folders)
    return [folder.name if count[folder.name] == 1 else str(folder) for folder in folders]


def _run_of(folder: Path, label: str) -> ComparedRun:
    from testbed.export.sources import read_results  # the command line starts without orbits

    content = read_results(folder)
    try:
        return ComparedRun.of(f"{label} ({_policies(folder)})", content)
    except (KeyError, TypeError):
        raise InputError(f"{folder / 'results.json'} lacks the totals of a run; name another run") from None


def _policies(folder: Path) -> str:
    """Return the policies of a run's scenario, which need not be valid in this version."""
    path = folder / "scenario.json"
    try:
        satellites = json.loads(path.read_text(encoding="utf-8"))["satellites"]
        return ", ".join(dict.fromkeys(str(satellite["policy"]) for satellite in satellites))
    except (OSError, ValueError, KeyError, TypeError):
        return "policy unknown"
