"""`spaceverse trace info`: describe a trace."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from testbed.cli.terminal.messages import say
from testbed.cli.trace.reading import read_trace_or_recording

_EXAMPLES = """examples:
  spaceverse trace info pass.csv
  spaceverse trace info pass.csv --json
"""


def add_parser(subparsers: Any) -> None:
    """Add the subcommand `info`."""
    parser = subparsers.add_parser(
        "info",
        help="describe a trace: its origin and its contacts",
        description="Describe a trace: its origin, and delay, rates and capacity of each contact.",
        epilog=_EXAMPLES,
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="trace, or recording that needs no options")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    import numpy as np

    from testbed.cli.trace.description import described

    trace = read_trace_or_recording(arguments.file)
    report = described(trace)
    if arguments.json:
        print(json.dumps({"file": str(arguments.file), **report}, indent=2))
        return 0
    say(f"{report['satellite']} over {report['station']}, {report['made_by']}")
    say(f"from {report['start_utc']}, {trace.end_s:g} s, {len(trace)} rows")
    for note in trace.header.notes:
        say(f"  {note}")
    symmetric = np.array_equal(trace.down_delay_s, trace.up_delay_s) and np.array_equal(
        trace.up, trace.both_up
    )
    _print_contacts(report["contacts"], symmetric=bool(symmetric))
    return 0


def _print_contacts(contacts: list[dict[str, Any]], *, symmetric: bool) -> None:
    """Print a row per contact; `symmetric` delays need one column only.

    Where a direction is down for a part of a contact, a column says how long each is up.
    """
    from testbed.cli.trace.table import print_table

    directions = ["down"] if symmetric else ["down", "up"]
    apart = any(map(_has_one_way, contacts))
    headings = ["contact", "AOS s", "LOS s", "length s"]
    headings += ["downlink/uplink up s"] if apart else []
    headings += ["down Mbit/s mean (peak)", "up Mbit/s mean"]
    headings += ["delay ms"] if symmetric else ["delay ms down", "delay ms up"]
    rows = [
        [
            str(number),
            f"{contact['aos_s']:.3f}",
            f"{contact['los_s']:.3f}",
            f"{contact['duration_s']:.1f}",
            *([f"{contact['downlink_up_s']:.1f}/{contact['uplink_up_s']:.1f}"] if apart else []),
            f"{contact['down_mean_bit_s'] / 1e6:.4g} ({contact['down_peak_bit_s'] / 1e6:.4g})",
            f"{contact['up_mean_bit_s'] / 1e6:.4g}",
            *(
                _range_ms(contact[f"{way}_delay_least_s"], contact[f"{way}_delay_most_s"])
                for way in directions
            ),
            f"{contact['down_bytes'] / 1e6:.4g}",
        ]
        for number, contact in enumerate(contacts, start=1)
    ]
    print_table([*headings, "down MB"], rows)


def _has_one_way(contact: dict[str, Any]) -> bool:
    return any(contact[f"{way}link_up_s"] < contact["duration_s"] - 1e-6 for way in ("down", "up"))


def _range_ms(least_s: float | None, most_s: float | None) -> str:
    return "-" if least_s is None or most_s is None else f"{least_s * 1e3:.2f} to {most_s * 1e3:.2f}"
