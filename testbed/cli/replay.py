"""`spaceverse replay`: a recorded link under anybody's programs."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from nodes.contract.topics import slug
from testbed.cli.recording_options import add_recording_options, read_with_options

_EPILOG = """examples:
  sudo spaceverse replay link.csv --server 'iperf3 -s -1' --client 'iperf3 -c {server} -R -t 20'
  sudo spaceverse replay ping.txt --rate 100M --up-rate 10M --client 'ping -c 50 -i 0.2 {server}'
  sudo spaceverse replay bw_1.txt --delay-from delay_1.txt --server 'python3 -m http.server 8000' \\
      --client 'curl -o /dev/null http://{server}:8000/frame.jpg'
  sudo spaceverse replay link.csv                       a shell at the client's end

The server stands at the satellite's end, the client at the ground's: down is from server to client. The
client starts with the first contact, and is stopped when the trace ends.
exit codes: 0 the client succeeded, or ran until the trace's end; 1 it failed; 2 the input cannot be used;
130 stopped by Ctrl-C
"""


def add_parser(subparsers: Any) -> None:
    """Add `replay` to the command line."""
    parser = subparsers.add_parser(
        "replay",
        help="play a recorded link or a trace under your own programs, and measure it",
        description="Play a trace, or a recording of a link, between two hosts; run a server in one and a"
        " client in the other, and say what was asked of the link and what it did. Needs root.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_recording_options(parser)
    group = parser.add_argument_group("what runs")
    group.add_argument("--client", metavar="CMD", help="shell command; {server}, {client} are addresses")
    group.add_argument("--server", metavar="CMD", help="shell command, started before the client")
    group.add_argument(
        "--server-at",
        choices=["satellite", "ground"],
        default="satellite",
        help="the server's end (satellite)",
    )
    group.add_argument(
        "--client-at", type=float, metavar="S", help="second it starts (with the first contact)"
    )
    group.add_argument("--shaper", choices=["auto", "nfqueue", "netem"], default="auto", help="(auto)")
    group.add_argument(
        "--speed", type=float, default=1.0, metavar="X", help="play the trace X times as fast (1)"
    )
    group.add_argument("--begin", type=float, metavar="S", help="begin at this second of the trace (0)")
    group.add_argument("--seconds", type=float, metavar="S", help="play only so much of it")
    group.add_argument("--no-probe", action="store_true", help="do not measure the link beside the programs")
    group.add_argument(
        "--output", type=Path, default=Path("runs"), metavar="DIR", help="parent of the run's folder"
    )
    group.add_argument(
        "--json", action="store_true", help="results as JSON on stdout; the client's output on stderr"
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from testbed.replay.replay import ReplayPlan, at_speed, replay  # Mininet is slow to import
    from testbed.results.table import console, link_table

    trace = read_with_options(arguments)
    if arguments.begin is not None or arguments.seconds is not None:
        begin_s = arguments.begin or 0.0
        end_s = trace.end_s if arguments.seconds is None else min(trace.end_s, begin_s + arguments.seconds)
        trace = trace.cut(begin_s, end_s)
    terminal = console(stderr=arguments.json)
    done = replay(
        ReplayPlan(
            trace=at_speed(trace, arguments.speed),
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
        lambda text: terminal.print(text, highlight=False, soft_wrap=True),
        sys.stderr if arguments.json else None,
    )
    if isinstance(done, int):
        return done
    if arguments.json:
        print(json.dumps(done.to_json(), indent=2))
    elif done.fidelity is not None:
        terminal.print(link_table(done.fidelity))
        if not done.fidelity.rtt:
            terminal.print(
                f"no probe found the link idle; {done.fidelity.rtt_behind_traffic} met the programs' traffic"
            )
    for note in done.notes:
        terminal.print(f"note: {note}", highlight=False, soft_wrap=True)
    terminal.print(f"results: {done.folder}", style="bold", soft_wrap=True)
    return done.exit_code
