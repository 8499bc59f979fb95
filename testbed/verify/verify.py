"""`spaceverse verify`: does a link of this machine do what it is told?

Two hosts and one link are made as in a run, told one state after another, and measured from outside:

    RTT                          probe packets, stamped by the kernels when they leave one host and when they
                                 arrive at the other: `testbed.verify.probe` says why that is right; beside
                                 it, not judged, what the same probes took between programs
    loss, order, contacts        the same probes
    TCP goodput                  one TCP connection of the kernel (Reno, its window full); bytes in order,
                                 arrivals stamped by the receiving host's kernel
    small message                the same, from send call to last byte received by programs, CLOCK_MONOTONIC;
                                 it takes a second, so their wake-up (some 10 us) is nothing
    frames of every kind         made by scapy, see `testbed.verify.frames`
    --capture                    the pass's probes once more, stamped by the kernels when they leave and when
                                 they arrive, see `testbed.measure.capture_writer`: no program's time is in it
    UDP rate                     a train of full frames, arrivals stamped by the receiving host's kernel
    a machine that was away      a thread notes how late timers are; what missed a bound on time or rate
                                 while the machine was away (20 ms or more) and awake otherwise is measured
                                 again, up to twice: the table has every row, and the last one is judged
    what this machine carries    the same flow through a link that nothing shapes, measured where a rate was
                                 missed; if it carries less than was asked, that is what the link is held to

Theory: a 64-byte probe's RTT is both delays and its own serialisation both ways; TCP carries 1448 bytes in
each 1514-byte frame; 10 kB in 7 such frames with 66 bytes of headers.  The bounds are for an idle machine.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from testbed.errors import CapabilityError, InputError

if TYPE_CHECKING:
    from testbed.network.shapers.base import Shaper
    from testbed.verify.checks import Check
    from testbed.verify.measures import AlongPass
    from traces.trace import Trace

PLOT_SUFFIXES = (".png", ".svg", ".pdf")
GROUPS = ("rtt", "tcp", "udp", "message", "loss", "jitter", "change", "frames", "pass", "contact")

_EPILOG = """examples:
  sudo spaceverse verify                                     everything, with the shaper a run would take
  sudo spaceverse verify --shaper nfqueue --plot pass.png    and a plot of asked against measured
  sudo spaceverse verify --trace my.csv                      along the steepest minute of your own trace
  sudo spaceverse verify --only rtt tcp                      the grid of delays and rates, and goodput
  sudo spaceverse verify --capture pass/                     keep captures of both ends along the pass
  sudo spaceverse verify --quick --json | jq '.checks[] | select(.ok | not)'

exit codes: 0 every bound was kept; 1 one was missed; 2 it cannot be measured here; 130 stopped by Ctrl-C
The bounds are for an idle machine: the table says how busy it was.
"""


def add_parser(subparsers: Any) -> None:
    """Add `verify` to the command line."""
    parser = subparsers.add_parser(
        "verify",
        help="measure whether links do what they are told: delay, rate, loss, order, contacts",
        description="Measure a link against what it is asked, and judge it. Needs root; takes 2 minutes, or "
        "half a minute with --quick; leaves nothing behind.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--shaper", choices=["auto", "nfqueue", "netem"], default="auto", help="default: auto, as a run does"
    )
    parser.add_argument("--trace", type=Path, metavar="FILE", help="play this trace, not the steepest pass")
    parser.add_argument("--quick", action="store_true", help="fewer rates, delays and repetitions")
    parser.add_argument(
        "--only", nargs="+", choices=GROUPS, default=GROUPS, metavar="GROUP", help=f"of {', '.join(GROUPS)}"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="asked against measured RTT along the pass")
    parser.add_argument(
        "--capture",
        type=Path,
        metavar="FOLDER",
        help="capture the pass at both ends (satellite.pcap, ground.pcap), and judge it from them too",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.set_defaults(run=run)


@dataclass(frozen=True)
class Verified:
    """What came of it."""

    shaper: str
    checks: list[Check]
    along: AlongPass | None
    trace: Trace
    load: dict[str, Any]

    @property
    def ok(self) -> bool:
        """Whether every check passed."""
        return all(check.ok for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """Everything."""
        along = self.along
        return {
            "ok": self.ok,
            "shaper": self.shaper,
            "load": self.load,
            "trace": {"satellite": self.trace.header.satellite, "station": self.trace.header.station},
            "checks": [check.to_json() for check in self.checks],
            "pass": []
            if along is None
            else [
                {"time_s": t, "asked_rtt_s": asked, "measured_rtt_s": measured}
                for t, asked, measured in zip(
                    along.time_s.tolist(),
                    along.asked_rtt_s.tolist(),
                    along.measured_rtt_s.tolist(),
                    strict=True,
                )
            ],
        }


def verify(
    shaper: str | Callable[[str], Shaper],
    *,
    quick: bool = False,
    only: Collection[str] = GROUPS,
    trace: Trace | None = None,
    capture: Path | None = None,
    on_step: Callable[[str, int, int], None] = lambda what, done, of: None,
    tick: Callable[[], None] = lambda: None,
) -> Verified:
    """Measure everything.

    Args:
        shaper: "nfqueue", "netem" or "auto", or what makes one, as for `testbed.network.sky.Sky`.
        only: what is measured, of `GROUPS`.
        trace: to be played in place of the steepest pass; its steepest minute is taken (quick: 8 s).
        capture: an existing folder for captures of the pass at both ends.
        on_step: told what is measured next, how many steps are done, and of how many.
        tick: called some ten times a second; what it raises ends the measurement.

    Raises:
        CapabilityError: not root, or this machine has no such shaper.
        LinkError: the link could not be made, or did not hold what was written to it.
    """
    from testbed.machine.processor_load import ProcessorLoad  # all these are slow to import
    from testbed.network.shapers.base import RecordingShaper
    from testbed.verify.checks import BOUNDS, LOOSEST
    from testbed.verify.link import LinkUnderTest
    from testbed.verify.measures import FULL, QUICK, Measurements
    from testbed.verify.trace import steepest_pass, steepest_piece

    effort = QUICK if quick else FULL
    played = steepest_pass(effort.pass_step_s) if trace is None else steepest_piece(trace, effort.piece_s)
    load = ProcessorLoad()
    checks: list[Check] = []
    with LinkUnderTest(shaper, tick) as link:
        how = link.sky.shaper
        measurements = Measurements(
            link,
            effort,
            BOUNDS.get(how.name, LOOSEST),
            played,
            unshaped=lambda: LinkUnderTest(lambda _: RecordingShaper("nothing"), tick),
            capture=capture,
        )
        steps = list(measurements.steps(only))
        for done, (what, measure) in enumerate(steps):
            on_step(what, done, len(steps))
            tick()
            checks += measure()
        on_step("done", len(steps), len(steps))
        text = f"{how.name} ({how.how()})"
    # Who else was there, and how late this machine's timers were while something was measured.
    lateness = measurements.lateness.record()
    return Verified(text, checks, measurements.along, played, {**load.record(), **lateness})


def run(arguments: argparse.Namespace) -> int:
    """Measure, print, and judge: 0 if every bound was kept, else 1."""
    from testbed.machine.processor_load import load_text
    from testbed.machine.stop_request import Stopped, StopRequest
    from testbed.results.table import console
    from testbed.verify.table import checks_table, plot_pass

    trace = _checked(arguments)
    with StopRequest() as stop:
        try:
            found = _shown(arguments, trace, stop)
        except Stopped:
            console(stderr=True).print("stopped; everything that verify had made is gone")
            return stop.exit_code
    if arguments.json:
        print(json.dumps(found.to_json(), indent=2))
    else:
        header = found.trace.header
        caption = f"pass: {header.satellite} over {header.station}; {load_text(found.load)}"
        terminal = console()
        terminal.print(checks_table(found.checks, f"verify: shaper {found.shaper}", caption))
        missed = sum(not check.ok for check in found.checks)
        verdict = f"{missed} of {len(found.checks)} bounds missed" if missed else "every bound was kept"
        terminal.print(verdict, style="bold red" if missed else "bold green")
    if arguments.plot and found.along is not None:
        plot_pass(found.along, f"{found.trace.header.satellite}, shaper {found.shaper}", arguments.plot)
        console(stderr=True).print(f"plot: {arguments.plot}", soft_wrap=True)
    return 0 if found.ok else 1


def _checked(arguments: argparse.Namespace) -> Trace | None:
    """Refuse what cannot be done before two minutes are spent on it; the trace, if one was given."""
    from testbed.network.player import unplayable
    from traces.trace_file import read_trace

    if os.geteuid() != 0:
        raise CapabilityError(
            "verify makes network namespaces and needs root: put sudo in front of the command"
        )
    for given in ("plot", "capture"):
        if getattr(arguments, given) is not None and "pass" not in arguments.only:
            raise InputError(f"--{given} is of the pass: add it to --only, or leave out --{given}")
    if arguments.plot is not None:
        if arguments.plot.suffix not in PLOT_SUFFIXES:
            raise InputError(
                f"plot {arguments.plot}: expected a name that ends in {', '.join(PLOT_SUFFIXES)}"
            )
        if not arguments.plot.absolute().parent.is_dir():
            raise InputError(f"plot {arguments.plot}: its folder does not exist")
    if arguments.capture is not None:
        try:
            arguments.capture.mkdir(exist_ok=True)
        except OSError as error:
            raise InputError(
                f"capture {arguments.capture}: no such folder can be made: {error.strerror}"
            ) from error
    if arguments.trace is None:
        return None
    trace = read_trace(arguments.trace)
    if not trace.contacts():
        raise InputError(f"trace {arguments.trace} has no contact: there is nothing to measure")
    if (why := unplayable(trace)) is not None:
        raise InputError(f"trace {arguments.trace} cannot be played: {why}")
    return trace


def _shown(arguments: argparse.Namespace, trace: Trace | None, stop: Any) -> Verified:
    """Measure with a progress bar on stderr."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from testbed.results.table import console

    columns = (TextColumn("{task.description:<40}"), BarColumn(), TimeElapsedColumn())
    # Drawn between the measurements only: ten times a second would take a guest's processor from the link.
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
