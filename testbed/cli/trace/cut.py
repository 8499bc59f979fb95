"""`spaceverse trace cut`: part of a trace."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from traces.errors import OutputFileError, TraceError
from traces.trace import Trace
from traces.trace_file import read_trace, write_trace
from traces.utc import format_utc

_EXAMPLES = """examples:
  spaceverse trace cut day.csv --from 24400 --to 24700 -o pass.csv
  spaceverse trace cut day.csv --contact 1 --lead 20 --tail 10 -o pass.csv
"""


def add_cut(parts: Any) -> None:
    """Add `cut` to the subcommands of `spaceverse trace`."""
    parser = parts.add_parser(
        "cut",
        help="keep part of a trace",
        description="Keep part of a trace: between two seconds, or around one contact.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, help="a trace file")
    parser.add_argument("--from", dest="from_s", type=float, metavar="S", help="first second (0)")
    parser.add_argument("--to", dest="to_s", type=float, metavar="S", help="last second (the trace's end)")
    parser.add_argument("--contact", type=int, metavar="N", help="the Nth contact, from 1")
    parser.add_argument("--lead", type=float, default=0.0, metavar="S", help="with --contact: seconds before")
    parser.add_argument("--tail", type=float, default=0.0, metavar="S", help="with --contact: seconds after")
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="FILE", help="the file to write")
    parser.add_argument("--force", action="store_true", help="replace the file if it exists")
    parser.add_argument("--json", action="store_true", help="report as JSON")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    if arguments.output.exists() and not arguments.force:
        raise OutputFileError(f"{arguments.output} exists; add --force to replace it, or name another file")
    trace = read_trace(arguments.file)
    part = trace.cut(*_bounds_s(arguments, trace))
    write_trace(part, arguments.output)
    up_s = sum(contact.duration_s for contact in part.contacts())
    if arguments.json:
        report = {
            "file": str(arguments.output),
            "start_utc": format_utc(part.header.start_utc),
            "length_s": part.end_s,
            "up_s": up_s,
            "contacts": len(part.contacts()),
            "rows": len(part),
        }
        print(json.dumps(report, indent=2))
    else:
        print(
            f"wrote {arguments.output}: from {format_utc(part.header.start_utc)},"
            f" {up_s:.6g} of {part.end_s:.6g} s up, {len(part)} rows"
        )
    return 0


def _bounds_s(arguments: argparse.Namespace, trace: Trace) -> tuple[float, float]:
    """Return the seconds to cut at.

    Raises:
        TraceError: both ways to say them, neither, no such contact, or a negative lead or tail.
    """
    by_time = arguments.from_s is not None or arguments.to_s is not None
    if by_time == (arguments.contact is not None):
        raise TraceError("what to keep is not clear; give --from and --to, or --contact")
    if by_time:
        if arguments.lead or arguments.tail:
            raise TraceError("--lead and --tail belong to --contact; add their seconds to --from and --to")
        return arguments.from_s or 0.0, trace.end_s if arguments.to_s is None else arguments.to_s
    contacts = trace.contacts()
    if not 1 <= arguments.contact <= len(contacts):
        raise TraceError(
            f"no contact {arguments.contact} in {arguments.file}: it holds {len(contacts)};"
            " see `spaceverse trace info`"
        )
    for option in ("lead", "tail"):
        if not getattr(arguments, option) >= 0:
            raise TraceError(f"--{option} {getattr(arguments, option):g}: expected 0 s or more")
    contact = contacts[arguments.contact - 1]
    return max(0.0, contact.aos_s - arguments.lead), min(trace.end_s, contact.los_s + arguments.tail)
