"""`spaceverse trace convert`: a recording into a trace, a trace into somebody else's format."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from testbed.cli.recording_options import add_recording_options, read_with_options
from traces.errors import OutputFileError
from traces.output_file import replacing

if TYPE_CHECKING:
    from traces.trace import Trace

_TARGETS = ("spaceverse", "mahimahi", "ion")
_EXAMPLES = """examples:
  spaceverse trace convert bw_1.txt --delay-from delay_1.txt --up-rate 10M -o link.csv   LeoReplayer
  spaceverse trace convert down.mahi --up-file up.mahi --delay 25ms -o link.csv          mahimahi
  spaceverse trace convert ping.txt --rate 100M --up-rate 10M -o link.csv                ping -D
  spaceverse trace convert iperf.csv --zone +01:00 --delay 30ms --gaps close -o link.csv
  spaceverse trace convert my.csv --columns time=ts:unix-ms,down=dl:Mbit/s,rtt=rtt:ms --up-rate 5M -o link.csv
  spaceverse trace convert access.csv --rate 20M --up-rate 1M --delay 5ms -o link.csv    STK, GMAT
  spaceverse trace convert link.csv --to ion -o contacts.ionrc
"""


def add_convert(parts: Any) -> None:
    """Add `convert` to the subcommands of `spaceverse trace`."""
    parser = parts.add_parser(
        "convert",
        help="make a trace from a recording, or write one in another format",
        description="Make a trace from a recording, or write a trace in another format."
        " What a recording does not hold must be given, and stands in the trace's notes.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_recording_options(parser)
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="FILE", help="the file to write")
    parser.add_argument("--to", choices=_TARGETS, default="spaceverse", help="its format (spaceverse)")
    parser.add_argument(
        "--direction", choices=["down", "up"], default="down", help="to mahimahi: which one (down)"
    )
    parser.add_argument("--force", action="store_true", help="replace the file if it exists")
    parser.add_argument("--json", action="store_true", help="report as JSON")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    if arguments.output.exists() and not arguments.force:
        raise OutputFileError(f"{arguments.output} exists; add --force to replace it, or name another file")
    trace = read_with_options(arguments)
    _write(trace, arguments)
    contacts = trace.contacts()
    if arguments.json:
        report = {
            "file": str(arguments.output),
            "format": arguments.to,
            "made_by": trace.header.made_by,
            "notes": list(trace.header.notes),
            "length_s": trace.end_s,
            "rows": len(trace),
            "contacts": len(contacts),
        }
        print(json.dumps(report, indent=2))
        return 0
    up_s = sum(contact.duration_s for contact in contacts)
    print(
        f"wrote {arguments.output}: {trace.header.made_by},"
        f" {up_s:.6g} of {trace.end_s:.6g} s up, {len(trace)} rows"
    )
    for note in trace.header.notes:
        print(f"  {note}")
    return 0


def _write(trace: Trace, arguments: argparse.Namespace) -> None:
    from traces.trace_file import write_trace

    if arguments.to == "spaceverse":
        write_trace(trace, arguments.output)
        return
    from traces.recordings import ion, mahimahi

    data = ion.write(trace) if arguments.to == "ion" else mahimahi.write(trace, arguments.direction)
    with replacing(arguments.output) as part:
        part.write_bytes(data)
