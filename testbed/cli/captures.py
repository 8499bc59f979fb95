"""`spaceverse captures`: what a link did, from captures of its two ends."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from testbed.measure.captures import Crossed, Seen

_EPILOG = """examples:
  sudo spaceverse verify --capture pass/                        captures of both ends along a real pass
  spaceverse captures pass/satellite.pcap pass/ground.pcap      what the link did to each frame
  spaceverse captures a.pcap b.pcapng --json | jq .down.one_way_s

Any program's captures will do (tcpdump -i IF -w FILE --time-stamp-precision=nano). Both ends need one clock:
captures of one machine have it; for two, synchronise them, and do not trust what is below their difference.
"""


def add_parser(subparsers: Any) -> None:
    """Add `captures` to the command line."""
    parser = subparsers.add_parser(
        "captures",
        help="compare captures of a link's two ends: one-way delay, loss, duplicates, order",
        description="Find each frame of one capture in the other, and say what the link did to it.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "satellite", type=Path, metavar="SATELLITE", help="pcap or pcapng of the satellite's end"
    )
    parser.add_argument("ground", type=Path, metavar="GROUND", help="the same of the ground's end")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Read, compare, print."""
    from testbed.measure.captures import compare  # numpy

    ends = [_read(path) for path in (arguments.satellite, arguments.ground)]
    ways = compare(*ends)
    if arguments.json:
        print(json.dumps({way: summary(crossed) for way, crossed in ways.items()}, indent=2))
        return 0
    _print({way: summary(crossed) for way, crossed in ways.items()})
    return 0


def _read(path: Path) -> list[Seen]:
    """With a counter on stderr: scapy takes some 5000 frames a second apart."""
    from rich.progress import Progress, SpinnerColumn, TextColumn

    from testbed.measure.captures import read_capture
    from testbed.results.table import console

    columns = (SpinnerColumn(), TextColumn("{task.description} {task.completed} frames", markup=False))
    with Progress(*columns, console=console(stderr=True), transient=True) as progress:
        task = progress.add_task(path.name, total=None)
        return read_capture(path, lambda: progress.advance(task))


def summary(crossed: Crossed) -> dict[str, Any]:
    """One direction's figures; times in seconds, None where nothing arrived."""
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
    from rich.table import Table

    from testbed.results.table import console

    table = Table(title="frames of both captures, paired by their bytes")
    for heading in ("", "frames", "lost", "twice", "reordered", "one way min", "p50", "p99", "max"):
        table.add_column(heading, justify="left" if heading == "" else "right")
    for way, found in ways.items():
        times = found["one_way_s"] or {}
        counts = [str(found[name]) for name in ("frames", "lost", "duplicated", "reordered")]
        seconds = [f"{times[q] * 1e3:.3f} ms" if times else "-" for q in ("min", "p50", "p99", "max")]
        table.add_row(way, *counts, *seconds)
    terminal = console()
    terminal.print(table)
    for way, found in ways.items():
        kinds = ", ".join(f"{count} {kind}" for kind, count in found["kinds"].items())
        terminal.print(f"{way}: {kinds or 'nothing'}", soft_wrap=True, highlight=False)
