"""`spaceverse captures`: compare captures of a link's two ends."""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from testbed.cli.terminal.console import console
from testbed.errors import InputError

if TYPE_CHECKING:
    from testbed.measure.captures import Crossed, Seen

_EPILOG = """examples:
  # captures of both ends along a real pass
  sudo spaceverse verify --capture pass/
  # delay, loss and order of its frames
  spaceverse captures pass/satellite.pcap pass/ground.pcap
  spaceverse captures a.pcap b.pcapng --json | jq .down.one_way_s

Captures from any program work (tcpdump -i IF -w FILE --time-stamp-precision=nano). Captures from two machines
are only as accurate as their clocks are synchronised.
"""


def add_parser(subparsers: Any) -> None:
    """Add the subcommand `captures`."""
    parser = subparsers.add_parser(
        "captures",
        help="compare captures of a link's two ends: one-way delay, loss, duplicates, order",
        description="Pair the frames of two captures, and report one-way delay, loss, duplicates and order.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "satellite", type=Path, metavar="SATELLITE", help="capture of the satellite's end (pcap or pcapng)"
    )
    parser.add_argument(
        "ground", type=Path, metavar="GROUND", help="capture of the ground station's end (pcap or pcapng)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Read both captures, compare them and print the result."""
    from testbed.measure.captures import compare, reason_for_no_pairs  # numpy

    satellite, ground = _read(arguments.satellite, arguments.ground)
    ways = compare(satellite, ground)
    reason = reason_for_no_pairs(satellite, ground, ways)
    if reason is not None:
        if all(len(crossed.frames) == crossed.lost for crossed in ways.values()):
            raise InputError(reason)
        warnings.warn(reason, stacklevel=2)
    if arguments.json:
        print(json.dumps({way: summary(crossed) for way, crossed in ways.items()}, indent=2))
        return 0
    _print({way: summary(crossed) for way, crossed in ways.items()})
    return 0


def _read(satellite: Path, ground: Path) -> tuple[list[Seen], list[Seen]]:
    """Read both captures with counters on stderr, since scapy parses only about 5000 frames per second."""
    from rich.progress import Progress, SpinnerColumn, TextColumn

    from testbed.measure.captures import read_captures

    columns = (SpinnerColumn(), TextColumn("{task.description} {task.completed} frames", markup=False))
    terminal = console(stderr=True)
    with Progress(*columns, console=terminal, transient=True, disable=not terminal.is_terminal) as progress:
        tasks = {path: progress.add_task(path.name, total=None) for path in (satellite, ground)}
        return read_captures(satellite, ground, lambda path: progress.advance(tasks[path]))


def summary(crossed: Crossed) -> dict[str, Any]:
    """Return the figures of one direction; times are in seconds, and None if no frame arrived."""
    import numpy as np

    one_way_s = crossed.one_way_s
    quantiles = {"min": 0, "p50": 50, "p99": 99, "max": 100}
    return {
        "frames": len(crossed.frames),
        "lost": crossed.lost,
        "duplicated": crossed.duplicated,
        "reordered": crossed.reordered,
        "one_way_s": {name: float(np.percentile(one_way_s, q)) for name, q in quantiles.items()}
        if len(one_way_s)
        else None,
        "kinds": crossed.kinds,
    }


def _print(ways: dict[Any, dict[str, Any]]) -> None:
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(title="frames in both captures; one-way delay in ms", box=SIMPLE, padding=(0, 1, 0, 0))
    for heading in ("", "frames", "lost", "duplicated", "reordered", "min", "p50", "p99", "max"):
        table.add_column(heading, justify="left" if heading == "" else "right", no_wrap=True)
    for way, figures in ways.items():
        times_s = figures["one_way_s"] or {}
        counts = [str(figures[name]) for name in ("frames", "lost", "duplicated", "reordered")]
        delays = [f"{times_s[q] * 1e3:.3f}" if times_s else "-" for q in ("min", "p50", "p99", "max")]
        table.add_row(way, *counts, *delays)
    terminal = console()
    terminal.print(table)
    for way, figures in ways.items():
        kinds = ", ".join(f"{count} {kind}" for kind, count in figures["kinds"].items())
        terminal.print(f"{way}: {kinds or 'no frames'}", soft_wrap=True)
