"""`spaceverse verify`: measure how well emulated links follow their settings."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nodes.contract.files import check_output
from testbed.cli.terminal.console import console
from testbed.errors import CapabilityError, InputError
from testbed.verify.verify import GROUPS, verify

if TYPE_CHECKING:
    from testbed.machine.stop_request import StopRequest
    from testbed.verify.verify import Verified
    from traces.trace import Trace

PLOT_SUFFIXES = (".png", ".svg", ".pdf")

_EPILOG = """examples:
  # everything, with the shaper a run would use
  sudo spaceverse verify
  # also plot requested and measured RTT
  sudo spaceverse verify --shaper nfqueue --plot pass.png
  # along the steepest minute of a trace
  sudo spaceverse verify --trace my.csv
  # the grid of delays and rates, and goodput
  sudo spaceverse verify --only rtt tcp
  # keep captures of both ends along the pass
  sudo spaceverse verify --capture pass/
  sudo spaceverse verify --quick --json | jq '.checks[] | select(.ok | not)'

exit codes: 0 every bound was kept; 1 a bound was missed; 2 this machine cannot measure; 130 stopped by Ctrl-C

The bounds are for an idle machine; the table shows how busy it was.
"""


def add_parser(subparsers: Any) -> None:
    """Add the subcommand `verify`."""
    parser = subparsers.add_parser(
        "verify",
        help="measure how well emulated links keep their delay, rate, loss, order and contacts",
        description="Measure an emulated link and check it against its settings. Needs root and takes about 2"
        " minutes, or half a minute with --quick. Removes everything that it creates.",
        epilog=_EPILOG,
    )
    add = parser.add_argument
    add(
        "--shaper",
        choices=["auto", "nfqueue", "netem"],
        default="auto",
        help="link shaper (default: auto, the best one that this machine supports)",
    )
    add("--trace", type=Path, metavar="FILE", help="play this trace instead of the steepest real pass")
    add("--quick", action="store_true", help="fewer rates, delays and repetitions")
    add(
        "--only",
        nargs="+",
        choices=GROUPS,
        default=GROUPS,
        metavar="GROUP",
        help=f"measure only these groups: {', '.join(GROUPS)}",
    )
    add("--plot", type=Path, metavar="FILE", help="plot requested and measured RTT along the pass")
    add(
        "--capture",
        type=Path,
        metavar="DIR",
        help="capture the pass at both ends (satellite.pcap, ground.pcap) and check the captures too",
    )
    add("--json", action="store_true", help="print JSON instead of the table")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Measure and print; return 0 if every bound was kept, else 1."""
    from testbed.machine.processor_load import load_text
    from testbed.machine.stop_request import Stopped, StopRequest
    from testbed.verify.table import checks_table, plot_pass

    trace = _checked(arguments)
    with StopRequest() as stop:
        try:
            verified = _with_progress(arguments, trace, stop)
        except Stopped:
            text = "Stopped. All namespaces, interfaces and processes were removed."
            console(stderr=True).print(text)
            return stop.exit_code
    if arguments.json:
        print(json.dumps(verified.to_json(), indent=2))
    else:
        header = verified.trace.header
        caption = f"pass: {header.satellite} over {header.station}; {load_text(verified.load)}"
        terminal = console()
        terminal.print(checks_table(verified.checks, f"verify: shaper {verified.shaper}", caption))
        missed = sum(not check.ok for check in verified.checks)
        verdict = f"{missed} of {len(verified.checks)} bounds missed" if missed else "every bound was kept"
        terminal.print(verdict, style="bold red" if missed else "bold green")
    if arguments.plot and verified.along is not None:
        title = f"{verified.trace.header.satellite}, shaper {verified.shaper}"
        plot_pass(verified.along, title, arguments.plot)
        console(stderr=True).print(f"plot: {arguments.plot}", soft_wrap=True)
    return 0 if verified.ok else 1


def _checked(arguments: argparse.Namespace) -> Trace | None:
    """Check the options before minutes are spent on them; return the trace, if there is one."""
    from testbed.network.player import unplayable
    from testbed.verify.pass_measurement import CAPTURES
    from traces.trace_file import read_trace

    if os.geteuid() != 0:
        raise CapabilityError("verify creates network namespaces, which needs root: use sudo")
    for option in ("plot", "capture", "trace"):
        if getattr(arguments, option) is not None and "pass" not in arguments.only:
            raise InputError(f"--{option} needs the pass: add pass to --only, or leave out --{option}")
    if arguments.plot is not None:
        if arguments.plot.suffix not in PLOT_SUFFIXES:
            raise InputError(f"plot {arguments.plot}: expected a name ending in {', '.join(PLOT_SUFFIXES)}")
        _check_writable("plot", arguments.plot)
    if arguments.capture is not None:
        try:
            arguments.capture.mkdir(exist_ok=True)
        except OSError as error:
            raise InputError(
                f"capture {arguments.capture}: cannot make the folder: {error.strerror}"
            ) from error
        for name in CAPTURES:
            _check_writable("capture", arguments.capture / name)
    if arguments.trace is None:
        return None
    trace = read_trace(arguments.trace)
    if not trace.contacts():
        raise InputError(f"trace {arguments.trace} has no contact: there is nothing to measure")
    if (fault := unplayable(trace)) is not None:
        raise InputError(f"trace {arguments.trace} cannot be played: {fault}")
    return trace


def _check_writable(what: str, path: Path) -> None:
    try:
        check_output(path)
    except OSError as error:
        raise InputError(f"{what} {path}: {error.strerror}") from error


def _with_progress(arguments: argparse.Namespace, trace: Trace | None, stop: StopRequest) -> Verified:
    """Measure with a progress bar on stderr."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:<40}"), BarColumn(), TimeElapsedColumn())
    # Drawn between measurements only: refreshes would take a guest's processor from the link.
    bar = Progress(*columns, console=console(stderr=True), transient=True, auto_refresh=False)
    with bar as progress:
        task = progress.add_task("building", total=None)

        def on_step(what: str, done: int, of: int) -> None:
            progress.update(task, description=what, completed=done, total=of, refresh=True)

        return verify(
            arguments.shaper,
            quick=arguments.quick,
            only=arguments.only,
            trace=trace,
            capture=arguments.capture,
            on_step=on_step,
            tick=stop.check,
        )
