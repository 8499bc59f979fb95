"""`spaceverse trace record`: measure a live path between two machines into a trace."""

from __future__ import annotations

import argparse
import json
import signal
from collections.abc import Callable
from typing import Any

from testbed.cli.parser import refuse
from testbed.cli.terminal.messages import say
from testbed.cli.trace.output_options import add_output_options, check_replaceable, report_stream, wrote
from testbed.cli.units import DURATION
from traces.errors import OutputFileError, UnitError

_EXAMPLES = """examples:
  # on one machine
  sudo spaceverse trace record --listen
  # on the other
  sudo spaceverse trace record --connect 192.0.2.7 --duration 300 -o link.csv
  # clocks synchronised by PTP
  sudo spaceverse trace record --connect 192.0.2.7 --clock-bound 50us \\
      -o link.csv
  # the same link, emulated
  sudo spaceverse replay link.csv

The downlink leads from the listening end to the connecting end. Without --clock-bound a one-way delay is half
the round trip, unless both ends run on one machine. Root is needed only for real-time priority, which makes
the timestamps more precise.
"""

_OF_CONNECTING = (
    "output", "force", "duration", "wait", "step", "clock_bound", "satellite", "station", "json",
)  # fmt: skip


def add_parser(subparsers: Any) -> None:
    """Add the subcommand `record`."""
    parser = subparsers.add_parser(
        "record",
        help="measure a live path into a trace",
        description="Measure a live path between two machines into a trace: delay, rate and loss of both"
        " directions, by small probes and short trains of UDP packets.",
        epilog=_EXAMPLES,
    )
    end = parser.add_mutually_exclusive_group(required=True)
    end.add_argument("--listen", action="store_true", help="answer the other end until Ctrl-C")
    end.add_argument("--connect", metavar="ADDRESS", help="measure the path to the machine at this address")
    parser.add_argument("--port", type=int, default=47771, metavar="N", help="UDP port (default: 47771)")
    add_output_options(parser, required=False, text="trace file to write; required with --connect")
    parser.add_argument(
        "--duration",
        type=DURATION,
        default=60.0,
        metavar="DURATION",
        help="length of the measurement (default: 60s)",
    )
    parser.add_argument(
        "--wait",
        type=DURATION,
        default=10.0,
        metavar="DURATION",
        help="longest wait for the first answer (default: 10s)",
    )
    parser.add_argument(
        "--step", type=DURATION, default=0.1, metavar="DURATION", help="time between rows (default: 100ms)"
    )
    parser.add_argument(
        "--clock-bound",
        type=DURATION,
        metavar="DURATION",
        help="largest difference between the two clocks, such as 50us",
    )
    parser.add_argument(
        "--satellite", default="server", metavar="NAME", help="name of the listening end (default: server)"
    )
    parser.add_argument(
        "--station", default="client", metavar="NAME", help="name of the connecting end (default: client)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from testbed.measure.path.record import serve, take_real_time

    if arguments.listen:
        refuse(arguments, "with --listen; it is for --connect", *_OF_CONNECTING)
    if not 1 <= arguments.port <= 65535:
        raise UnitError(f"--port {arguments.port}: expected 1 to 65535")
    stopped = _on_signals()
    real_time = take_real_time()
    if arguments.listen:
        print(f"listening on UDP port {arguments.port}; stop with Ctrl-C", flush=True)
        serve(stopped, port=arguments.port)
        return 0
    return _record(arguments, stopped, real_time)


def _on_signals() -> Callable[[], bool]:
    """Let Ctrl-C and `kill` end the measurement but not the program, which still writes the trace."""
    received: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: received.append(number))
    return lambda: bool(received)


def _record(arguments: argparse.Namespace, stopped: Callable[[], bool], real_time: bool) -> int:
    from testbed.measure.path.record import Client
    from testbed.measure.path.trace import trace_of
    from traces.trace_file import write_trace

    if arguments.output is None:
        raise OutputFileError("record --connect requires a file to write: add -o FILE")
    check_replaceable(arguments)
    if not (0 < arguments.duration <= 1e6 and 0 < arguments.wait <= 1e6):
        raise UnitError("--duration and --wait: expected more than 0 and at most 1000000 s")
    if not 0.02 <= arguments.step <= 60:
        raise UnitError(f"--step {arguments.step:g}: expected 20ms to 60s")
    client = Client(arguments.connect, arguments.port, stopped)
    measured = client.measure(arguments.duration, arguments.wait)
    trace = trace_of(
        measured,
        step_s=arguments.step,
        clock_bound_s=arguments.clock_bound,
        satellite=arguments.satellite,
        station=arguments.station,
        notes=()
        if real_time
        else ("measured without real-time priority: delays may be about 0.1 ms too long",),
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
        stream = report_stream(arguments.output)
        say(f"{wrote(arguments.output)}: {trace.end_s:.1f} s, {answered}", stream)
        for note in trace.header.notes:
            say(f"  {note}", stream)
    return 0
