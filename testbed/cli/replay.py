"""`spaceverse replay`: run programs over a recorded link."""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nodes.contract.topics import slug
from testbed.cli.parser import refuse
from testbed.cli.terminal.console import console
from testbed.cli.trace.recording_options import add_recording_options, read_with_options
from testbed.cli.units import DURATION, factor

if TYPE_CHECKING:
    from rich.console import Console

    from testbed.replay.replay import Replayed
    from traces.trace import Trace

_EPILOG = """examples:
  sudo spaceverse replay link.csv --server 'iperf3 -s -1' \\
      --client 'iperf3 -c {server} -R -t 20'
  sudo spaceverse replay ping.txt --rate 100M --up-rate 10M \\
      --client 'ping -c 50 -i 0.2 {server}'
  sudo spaceverse replay bw_1.txt --delay-from delay_1.txt \\
      --server 'python3 -m http.server 8000' \\
      --client 'curl -o /dev/null http://{server}:8000/frame.jpg'
  # a shell at the client's end
  sudo spaceverse replay link.csv

The server runs at the satellite's end and the client at the ground station's end, so that the downlink leads
from server to client. The client starts when both directions are up and is stopped when the trace ends.

exit codes: 0 the client succeeded, or ran until the trace ended; 1 it failed; 2 the input is invalid;
130 stopped by Ctrl-C
"""


def add_parser(subparsers: Any) -> None:
    """Add the subcommand `replay`."""
    parser = subparsers.add_parser(
        "replay",
        help="run programs over a recorded link, and measure the link",
        description="Run unmodified programs on two hosts joined by a recorded link or a trace, then compare"
        " the emulated link with the recording. Needs root.",
        epilog=_EPILOG,
    )
    add_recording_options(parser)
    _add_program_options(parser.add_argument_group("programs"))
    _add_link_options(parser.add_argument_group("emulated link"))
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("runs"),
        metavar="DIR",
        help="parent of the run's folder (default: runs)",
    )
    parser.add_argument(
        "--json", action="store_true", help="print JSON; the output of the programs goes to stderr"
    )
    parser.set_defaults(run=_run)


def _add_program_options(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--client", metavar="COMMAND", help="shell command; {server} and {client} are replaced by addresses")
    add("--server", metavar="COMMAND", help="shell command that is started before the client")
    add(
        "--server-at",
        choices=["satellite", "ground"],
        default="satellite",
        help="end of the link at which the server runs (default: satellite)",
    )
    add(
        "--client-at",
        type=DURATION,
        metavar="DURATION",
        help="start of the client, in time of the trace (default: the first contact)",
    )


def _add_link_options(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--shaper",
        choices=["auto", "nfqueue", "netem"],
        default="auto",
        help="link shaper (default: auto, the best one that this machine supports)",
    )
    add("--speed", type=factor, default=1.0, metavar="FACTOR", help="play the trace faster (default: 1)")
    add("--begin", type=DURATION, metavar="DURATION", help="begin at this time of the trace (default: 0)")
    add("--duration", type=DURATION, metavar="DURATION", help="length to play (default: to the trace's end)")
    add("--no-probe", action="store_true", help="do not measure the link while the programs run")


def _run(arguments: argparse.Namespace) -> int:
    from testbed.replay.replay import ReplayPlan, at_speed, replay  # Mininet is slow to import

    if arguments.client is None:
        refuse(arguments, "without --client; add --client COMMAND", "client_at")
    terminal = console(stderr=arguments.json)
    done = replay(
        ReplayPlan(
            trace=at_speed(_trace(arguments), arguments.speed),
            name=slug(arguments.file.stem)[:40] or "trace",
            client=arguments.client,
            server=arguments.server,
            server_end=arguments.server_at,
            shaper=arguments.shaper,
            client_at_s=arguments.client_at,
            probe=not arguments.no_probe,
            shell=arguments.client is None and sys.stdin.isatty() and not arguments.json,
        ),
        arguments.output,
        lambda text: terminal.print(text, soft_wrap=True),
        sys.stderr if arguments.json else None,
    )
    if isinstance(done, int):
        return done
    _report(done, terminal, as_json=arguments.json)
    return done.exit_code


def _trace(arguments: argparse.Namespace) -> Trace:
    """Return the part of the recording to play."""
    trace = read_with_options(arguments)
    if arguments.begin is None and arguments.duration is None:
        return trace
    begin_s = arguments.begin or 0.0
    if arguments.duration is None:
        return trace.cut(begin_s, trace.end_s)
    end_s = begin_s + arguments.duration
    if end_s > trace.end_s:
        warnings.warn(
            f"the trace ends at {trace.end_s:g} s, before --duration {arguments.duration:g} s is over;"
            f" --loop {end_s:g} repeats it",
            stacklevel=2,
        )
    return trace.cut(begin_s, min(trace.end_s, end_s))


def _report(done: Replayed, terminal: Console, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(done.to_json(), indent=2))
    else:
        _print_tables(done, terminal)
    for note in done.notes:
        terminal.print(f"note: {note}", soft_wrap=True)
    for what, path in done.files.items():
        terminal.print(f"{what}: {path}", soft_wrap=True)
    terminal.print(f"results: {done.folder}", style="bold", soft_wrap=True)


def _print_tables(done: Replayed, terminal: Console) -> None:
    from rich.box import SIMPLE
    from rich.table import Table

    shown = done.tables()
    title = f"{done.played.played_s:.1f} s of the trace: requested and measured"
    for rows, heading in ((shown.carried, title), (shown.accuracy, None)):
        if len(rows) == 1:
            continue
        table = Table(box=SIMPLE, padding=(0, 1, 0, 0), title=heading)
        table.add_column(rows[0][0], no_wrap=True)
        for cell in rows[0][1:]:
            table.add_column(cell, justify="right", no_wrap=True)
        for row in rows[1:]:
            table.add_row(*row)
        terminal.print(table)
    for note in (f"shaper {done.shaper}", *shown.notes):
        terminal.print(note, soft_wrap=True)
