"""Verification of emulated links: whether a link of this machine keeps the states that it is given.

Two hosts and one link are made as in a run, set to one state after another, and measured from outside:

    RTT                  probe packets, stamped by the kernels as they leave one host and arrive at the other;
                         `testbed.verify.probe` gives the reasons. The RTT between programs is shown beside it
                         and not checked
    loss, order, contacts    the same probes
    TCP goodput          one TCP connection of the kernel (Reno, full window); bytes in order, arrivals
                         stamped by the receiving host's kernel
    small message        the same, from the send call to the last byte that a program receives
                         (CLOCK_MONOTONIC); it takes a second, so the programs' wake-up does not matter
    frames of every kind     made by scapy, see `testbed.verify.frames`
    UDP rate             a train of full frames, arrivals stamped by the receiving host's kernel
    captures             the pass's probes, stamped by the kernels as they leave and arrive, see
                         `testbed.measure.capture_writer`; programs add no time to them

A thread watches how late timers are. A bound on time or rate that is missed while the machine was descheduled
(20 ms or more) and otherwise awake is measured again, up to twice; the table has every row, and the last one
is checked. Where a rate is missed, the same flow is measured over a link without a shaper: if the machine
carries less than was requested, the link is checked against that.

Theory: a 64-byte probe's RTT is both delays and its own serialisation both ways; TCP carries 1448 bytes in
each 1514-byte frame; 10 kB in 7 such frames with 66 bytes of headers. The bounds are for an idle machine.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from testbed.network.shapers.base import Shaper
    from testbed.verify.checks import Check
    from testbed.verify.pass_measurement import AlongPass
    from traces.trace import Trace

GROUPS = ("rtt", "tcp", "udp", "message", "loss", "jitter", "change", "frames", "pass", "contact")


@dataclass(frozen=True)
class Verified:
    """The result of a verification."""

    shaper: str
    checks: list[Check]
    along: AlongPass | None
    trace: Trace
    load: dict[str, Any]

    @property
    def ok(self) -> bool:
        """Whether every bound was kept."""
        return all(check.ok for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """Return everything, for JSON."""
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
                {"time_s": t, "requested_rtt_s": requested, "measured_rtt_s": measured}
                for t, requested, measured in zip(
                    along.time_s.tolist(),
                    along.requested_rtt_s.tolist(),
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
    """Measure a link of this machine against the states that it is given.

    Args:
        shaper: "nfqueue", "netem" or "auto", or a function that makes one, as for `testbed.network.sky.Sky`.
        quick: fewer rates, delays and repetitions.
        only: groups to measure, of `GROUPS`.
        trace: played instead of the steepest pass; the piece of it in which the delay changes most is taken
            (60 s; quick: 8 s).
        capture: an existing folder for captures of the pass at both ends.
        on_step: called with the name of the next measurement, the number of finished ones, and the total.
        tick: called about ten times a second; an exception that it raises ends the measurement.

    Raises:
        CapabilityError: not root, or this machine has no such shaper.
        LinkError: the link could not be made, or did not hold a state that was written to it.
    """
    from testbed.machine.processor_load import ProcessorLoad  # slow to import, as all of these
    from testbed.network.shapers.base import RecordingShaper
    from testbed.verify.checks import BOUNDS, LOOSEST
    from testbed.verify.effort import FULL, QUICK
    from testbed.verify.link import LinkUnderTest
    from testbed.verify.measures import Measurements
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
    lateness = measurements.lateness.record()
    return Verified(text, checks, measurements.along, played, {**load.record(), **lateness})
