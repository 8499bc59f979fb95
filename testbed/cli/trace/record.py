"""`spaceverse trace record`: a live path between two machines becomes a trace."""

from __future__ import annotations

import argparse
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from traces.errors import OutputFileError, UnitError
from traces.units import parse_duration_s

_EXAMPLES = """examples:
  sudo spaceverse trace record --server                                      on one machine
  sudo spaceverse trace record --client 192.0.2.7 --seconds 300 -o link.csv  on the other
  sudo spaceverse trace record --client 192.0.2.7 --clock-bound 50us -o link.csv   clocks kept by PTP
  sudo spaceverse replay link.csv                                            and the same link again

Down is from the server to the client. Without --clock-bound a one-way delay is half a round trip, unless both
ends run on one machine. Root is only for real-time priority, which makes the stamps better.
"""


def add_record(parts: Any) -> None:
    """Add `record` to the subcommands of `spaceverse trace`."""
    parser = parts.add_parser(
        "record",
        help="measure a live path into a trace",
        description="Measure a live path between two machines into a trace: delay, rate and loss of both"
        " directions, by small probes and short trains of UDP packets.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    end = parser.add_mutually_exclusive_group(required=True)
    end.add_argument("--server", action="store_true", help="answer clients until Ctrl-C")
    end.add_argument("--client", metavar="ADDRESS", help="measure the path to the server at this address")
    parser.add_argument("--port", type=int, default=47771, help="UDP port of the server (47771)")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="the trace to write")
    parser.add_argument("--force", action="store_true", help="replace the file if it exists")
    parser.add_argument("--seconds", type=float, default=60.0, metavar="S", help="how long (60)")
    parser.add_argument(
        "--wait", type=float, default=10.0, metavar="S", help="for the server's first answer (10)"
    )
    parser.add_argument("--step", default="100ms", metavar="TIME", help="a row of the trace for each (100ms)")
    parser.add_argument("--clock-bound", metavar="TIME", help="most by which the two clocks differ: 50us")
    parser.add_argument("--satellite", default="server", metavar="NAME", help="name of the server's end")
    parser.add_argument("--station", default="client", metavar="NAME", help="name of the client's end")
    parser.add_argument("--json", action="store_true", help="report as JSON")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from testbed.measure.path.record import serve, take_real_time

    if not 1 <= arguments.port <= 65535:
        raise UnitError(f"--port {arguments.port}: expected 1 to 65535")
    stopped = _on_signals()
    real_time = take_real_time()
    if arguments.server:
        print(f"answering on UDP port {arguments.port}; Ctrl-C ends", flush=True)
        serve(stopped, port=arguments.port)
        return 0
    return _record(arguments, stopped, real_time)


def _on_signals() -> Callable[[], bool]:
    """Let Ctrl-C and `kill` end the measurement, not the program: what was measured is still written."""
    came: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda got, _: came.append(got))
    return lambda: bool(came)


def _record(arguments: argparse.Namespace, stopped: Callable[[], bool], real_time: bool) -> int:
    from testbed.measure.path.record import Client
    from testbed.measure.path.trace import trace_of
    from traces.trace_file import write_trace

    if arguments.output is None:
        raise OutputFileError("record --client writes a file; name it with -o FILE")
    if arguments.output.exists() and not arguments.force:
        raise OutputFileError(f"{arguments.output} exists; add --force to replace it, or name another file")
    if not (0 < arguments.seconds <= 1e6 and 0 < arguments.wait <= 1e6):
        raise UnitError("--seconds and --wait: expected more than 0, at most 1000000")
    step_s = parse_duration_s(arguments.step)
    if not 0.02 <= step_s <= 60:
        raise UnitError(f"--step {arguments.step}: expected 20ms to 60s")
    bound_s = None if arguments.clock_bound is None else parse_duration_s(arguments.clock_bound)
    measured = Client(arguments.client, arguments.port, stopped).measure(arguments.seconds, arguments.wait)
    trace = trace_of(
        measured,
        step_s=step_s,
        clock_bound_s=bound_s,
        satellite=arguments.satellite,
        station=arguments.station,
        notes=() if real_time else ("without real-time priority: delays may be some 0.1 ms too long",),
    )
    write_trace(trace, arguments.output)
    report = {
        "file": str(arguments.output),
        "length_s": trace.end_s,
        "probes": len(measured.sent_ns),
        "answers": len(measured.echoes) // 5,
        "trains": {"down": len(measured.down), "up": len(measured.up)},
        "notes": list(trace.header.notes),
    }
    if arguments.json:
        print(json.dumps(report, indent=2))
    else:
        answered = f"{report['answers']} of {report['probes']} probes answered"
        print(f"wrote {arguments.output}: {trace.end_s:.1f} s, {answered}")
        for note in trace.header.notes:
            print(f"  {note}")
    return 0
