"""`spaceverse trace cut`: extract part of a trace."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from testbed.cli.terminal.messages import say
from testbed.cli.trace.output_options import add_output_options, check_replaceable, report_stream, wrote
from testbed.cli.trace.reading import read_trace_or_recording
from testbed.cli.units import DURATION
from traces.errors import TraceError
from traces.utc import format_utc

if TYPE_CHECKING:
    from traces.trace import Trace

_EXAMPLES = """examples:
  spaceverse trace cut day.csv --begin 24400 --end 24700 -o pass.csv
  spaceverse trace cut day.csv --contact 1 --lead 20 --tail 10 -o pass.csv
"""


def add_parser(subparsers: Any) -> None:
    """Add the subcommand `cut`."""
    parser = subparsers.add_parser(
        "cut",
        help="extract part of a trace",
        description="Extract the part of a trace between two times, or around one contact.",
        epilog=_EXAMPLES,
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="trace, or recording that needs no options")
    parser.add_argument(
        "--begin", type=DURATION, metavar="DURATION", help="begin at this time of the trace (default: 0)"
    )
    parser.add_argument(
        "--end", type=DURATION, metavar="DURATION", help="end at this time of the trace (default: its end)"
    )
    parser.add_argument("--contact", type=int, metavar="N", help="the Nth contact, from 1")
    parser.add_argument(
        "--lead",
        type=DURATION,
        default=0.0,
        metavar="DURATION",
        help="with --contact: time before AOS (default: 0)",
    )
    parser.add_argument(
        "--tail",
        type=DURATION,
        default=0.0,
        metavar="DURATION",
        help="with --contact: time after LOS (default: 0)",
    )
    add_output_options(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from testbed.cli.trace.description import up_time
    from traces.trace_file import write_trace

    check_replaceable(arguments)
    trace = read_trace_or_recording(arguments.file)
    part = trace.cut(*_bounds_s(arguments, trace))
    write_trace(part, arguments.output)
    if arguments.json:
        report = {
            "file": str(arguments.output),
            "start_utc": format_utc(part.header.start_utc),
            "length_s": part.end_s,
            "up_s": sum(contact.duration_s for contact in part.contacts()),
            "contacts": len(part.contacts()),
            "rows": len(part),
        }
        print(json.dumps(report, indent=2))
    else:
        say(
            f"{wrote(arguments.output)}: from {format_utc(part.header.start_utc)},"
            f" {up_time(part)}, {len(part)} rows",
            report_stream(arguments.output),
        )
    return 0


def _bounds_s(arguments: argparse.Namespace, trace: Trace) -> tuple[float, float]:
    """Return the times to cut at, in seconds.

    Raises:
        TraceError: the options contradict each other, are missing, or name a contact that does not exist.
    """
    by_time = arguments.begin is not None or arguments.end is not None
    if by_time == (arguments.contact is not None):
        raise TraceError("the part to keep is not clear; set --begin and --end, or --contact")
    if by_time:
        if arguments.lead or arguments.tail:
            raise TraceError("--lead and --tail require --contact; change --begin and --end instead")
        return arguments.begin or 0.0, trace.end_s if arguments.end is None else arguments.end
    contacts = trace.contacts()
    if not 1 <= arguments.contact <= len(contacts):
        raise TraceError(
            f"no contact {arguments.contact} in {arguments.file}: it has {len(contacts)};"
            " list them by `spaceverse trace info`"
        )
    contact = contacts[arguments.contact - 1]
    return max(0.0, contact.aos_s - arguments.lead), min(trace.end_s, contact.los_s + arguments.tail)
