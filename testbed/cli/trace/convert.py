"""`spaceverse trace convert`: read a recording as a trace, or write a trace in another format."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from testbed.cli.terminal.messages import say
from testbed.cli.trace.output_options import add_output_options, check_replaceable, report_stream, wrote
from testbed.cli.trace.recording_options import add_recording_options, read_with_options
from traces.errors import UnitError
from traces.output_file import replacing

if TYPE_CHECKING:
    from traces.trace import Trace

_TARGETS = ("spaceverse", "mahimahi", "ion")
_EXAMPLES = """examples:
  # LeoReplayer
  spaceverse trace convert bw_1.txt --delay-from delay_1.txt --up-rate 10M \\
      -o link.csv
  # mahimahi
  spaceverse trace convert down.mahi --up-file up.mahi --delay 25ms -o link.csv
  # ping -D
  spaceverse trace convert ping.txt --rate 100M --up-rate 10M -o link.csv
  spaceverse trace convert iperf.csv --zone +01:00 --delay 30ms --gaps close \\
      -o link.csv
  spaceverse trace convert my.csv \\
      --columns time=ts:unix-ms,down=dl:Mbit/s,rtt=rtt:ms --up-rate 5M \\
      -o link.csv
  # STK, GMAT
  spaceverse trace convert access.csv --rate 20M --up-rate 1M --delay 5ms \\
      -o link.csv
  spaceverse trace convert link.csv --to ion -o contacts.ionrc
"""


def add_parser(subparsers: Any) -> None:
    """Add the subcommand `convert`."""
    parser = subparsers.add_parser(
        "convert",
        help="read a recording as a trace, or write a trace in another format",
        description="Read a recording as a trace, or write a trace in another format. Values that the"
        " recording lacks are passed as options and noted in the trace's header.",
        epilog=_EXAMPLES,
    )
    add_recording_options(parser)
    add_output_options(parser, text="file to write")
    parser.add_argument(
        "--to", choices=_TARGETS, default="spaceverse", help="format to write (default: spaceverse)"
    )
    parser.add_argument(
        "--direction",
        choices=["down", "up"],
        help="with --to mahimahi: direction to write (default: down)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    if arguments.direction and arguments.to != "mahimahi":
        raise UnitError(f"--direction has no effect with --to {arguments.to}; it is for mahimahi")
    from testbed.cli.trace.description import up_time

    check_replaceable(arguments)
    trace = read_with_options(arguments)
    written = _write(trace, arguments)
    if arguments.json:
        report = {
            "file": str(arguments.output),
            "format": arguments.to,
            "made_by": trace.header.made_by,
            "notes": list(trace.header.notes),
            "length_s": trace.end_s,
            "rows": len(trace),
            "contacts": len(trace.contacts()),
            "written": written,
        }
        print(json.dumps(report, indent=2))
        return 0
    stream = report_stream(arguments.output)
    say(
        f"{wrote(arguments.output)} from {trace.header.made_by}:"
        if written
        else f"{wrote(arguments.output)}: {trace.header.made_by}, {up_time(trace)}, {len(trace)} rows",
        stream,
    )
    for direction, amount in written.items():
        parts = [
            f"{held:.10g} of {amount[f'trace_{unit}']:.10g} {unit}"
            for unit, held in amount.items()
            if f"trace_{unit}" in amount
        ]
        say(f"  {arguments.to} holds of the {direction}link: {', '.join(parts)}", stream)
    for note in trace.header.notes:
        say(f"  {note}", stream)
    return 0


def _write(trace: Trace, arguments: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Write the file; return what a foreign format holds in each direction, and what the trace holds."""
    from testbed.cli.trace.description import carried
    from traces.trace_file import write_trace

    if arguments.to == "spaceverse":
        write_trace(trace, arguments.output)
        return {}
    from traces.recordings import ion, mahimahi

    if arguments.to == "ion":
        data = ion.write(trace)
        held = {way: {"s": seconds, "bytes": size} for way, (seconds, size) in ion.carried(data).items()}
    else:
        direction = arguments.direction or "down"
        data = mahimahi.write(trace, direction)
        held = {direction: {"bytes": data.count(b"\n") * mahimahi.CHANCE_BITS / 8.0}}
    amounts: dict[str, dict[str, float]] = {}
    for direction, amount in held.items():
        up_s, up_bytes = carried(trace, direction)
        amounts[direction] = amount | ({"trace_s": up_s} if "s" in amount else {}) | {"trace_bytes": up_bytes}
    with replacing(arguments.output) as part:
        part.write_bytes(data)
    return amounts
