"""Whether this machine kept up with a run: lateness of links, and the cost of running ahead of real time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from nodes.clocks.timescale import Timescale
from nodes.contract.events import EventRecord
from testbed.measure.fidelity import LinkFidelity
from testbed.results.clock.answer_lateness import AnswerLateness, late_share
from testbed.results.nodes.pace import NodePace

LATE_S = 0.02  # the player applies the changes of 4 ms together; an idle machine stays below 10 ms
LATE_AHEAD_S = 0.25  # of scenario time, where that runs ahead; traces of orbits change every second
LATE_SHARE = 0.05  # of the answers' latencies
SLOWER = 0.1  # share of its rate that a link may lack


def lateness_warning(late_s: Sequence[float]) -> str | None:
    """Return a warning if a change of a link came late; None if all came in time.

    Args:
        late_s: lateness of each change, in seconds.
    """
    late = [one for one in late_s if one > LATE_S]
    if not late:
        return None
    return (
        f"links changed up to {max(late) * 1e3:.0f} ms late ({len(late)} of {len(late_s)} changes by more "
        f"than {LATE_S * 1e3:.0f} ms), so that contacts and rates were shifted: use fewer nodes, or a less "
        "busy machine"
    )


@dataclass(frozen=True)
class Acceleration:
    """A run at a speed above 1; all seconds are of scenario time.

    Args:
        speed: seconds of scenario time in a real one.
        link_error_p50_s: largest of the links' median RTT errors; None if no link was measured.
        link_error_p99_s: and of their 99th percentiles.
        rate_error: lowest error of a link's measured rate, as a share of the requested one; None likewise.
        lateness_p50_s: median delay from a change in a trace until the link had it.
        lateness_p99_s: 99th percentile of it.
        answers: number of answers at the pace of a profile.
        late_answers: number of those that came later than on the profile's machine.
        answers_late_p50_s: median lateness of the answered frames; None without one.
        answers_late_p99_s: 99th percentile of it.
        late_share: lateness of all answered frames, as a share of their latencies.
    """

    speed: float
    link_error_p50_s: float | None
    link_error_p99_s: float | None
    rate_error: float | None
    lateness_p50_s: float
    lateness_p99_s: float
    answers: int
    late_answers: int
    answers_late_p50_s: float | None = None
    answers_late_p99_s: float | None = None
    late_share: float = 0.0

    @property
    def misses(self) -> list[str]:
        """In which respects this machine did not keep up."""
        found = []
        if self.lateness_p99_s > LATE_AHEAD_S:
            found.append(f"1 % of the links' changes were more than {self.lateness_p99_s:.2f} s late")
        if self.rate_error is not None and self.rate_error < -SLOWER:
            found.append(f"a link carried {-self.rate_error:.0%} less than its rate")
        if self.late_share > LATE_SHARE:
            found.append(
                f"{self.late_share:.1%} of the answers' latency was lateness of this machine "
                f"({self.late_answers} of {self.answers} answers were later than their profile's)"
            )
        return found

    @property
    def kept_up(self) -> bool:
        """Whether this machine kept up with the speed."""
        return not self.misses

    def line(self) -> str:
        """Return speed, errors and whether the machine kept up, in one line."""
        error = "not measured"
        if self.link_error_p50_s is not None and self.link_error_p99_s is not None:
            error = f"p50 {self.link_error_p50_s * 1e3:.2f} ms, p99 {self.link_error_p99_s * 1e3:.2f} ms"
        line = (
            f"speed {self.speed:g}: this machine {'kept up' if self.kept_up else 'did not keep up'}; "
            f"in scenario time: RTT error {error}; changes of links late by "
            f"p50 {self.lateness_p50_s * 1e3:.1f} ms, p99 {self.lateness_p99_s * 1e3:.1f} ms"
        )
        if self.answers_late_p50_s is not None and self.answers_late_p99_s is not None:
            line += (
                f"; answers late by p50 {self.answers_late_p50_s:.3f} s, "
                f"p99 {self.answers_late_p99_s:.3f} s, {self.late_share:.1%} of their latency"
            )
        return line

    def warning(self) -> str | None:
        """Return a warning in one line if this machine did not keep up."""
        if self.kept_up:
            return None
        return (
            f"this machine did not keep up with speed {self.speed:g}: {'; '.join(self.misses)}: "
            "repeat the run with a lower --speed"
        )

    def to_json(self) -> dict[str, Any]:
        """Return all fields, and whether this machine kept up."""
        return {**asdict(self), "kept_up": self.kept_up, "misses": self.misses}


def acceleration(
    speed: float,
    links: Sequence[LinkFidelity],
    lateness_s: Sequence[float],
    paces: Sequence[NodePace],
    answered: Sequence[AnswerLateness] = (),
) -> Acceleration | None:
    """Return what the speed has cost; None at speed 1.

    Args:
        speed: seconds of scenario time in a real one.
        links: what was measured of each link.
        lateness_s: of each change of a link.
        paces: of each node with a profile.
        answered: lateness of each answered frame.
    """
    if speed == 1:
        return None
    p50, p99 = np.percentile(lateness_s, [50, 99]).tolist() if lateness_s else (0.0, 0.0)
    late_s = [one.late_s for one in answered]
    late_p50, late_p99 = np.percentile(late_s, [50, 99]).tolist() if late_s else (None, None)
    rates = [link.rate_error(samples) for link in links for samples in (link.down_rate, link.up_rate)]
    return Acceleration(
        speed=speed,
        link_error_p50_s=max((e for link in links if (e := link.rtt_error_s(50)) is not None), default=None),
        link_error_p99_s=max((e for link in links if (e := link.rtt_error_s(99)) is not None), default=None),
        rate_error=min((error for error in rates if error is not None), default=None),
        lateness_p50_s=p50,
        lateness_p99_s=p99,
        answers=sum(pace.answers for pace in paces),
        late_answers=sum(pace.late for pace in paces),
        answers_late_p50_s=late_p50,
        answers_late_p99_s=late_p99,
        late_share=late_share(answered),
    )


def in_scenario_time(records: Sequence[EventRecord], scale: Timescale) -> Sequence[EventRecord]:
    """Return events with the stamps that they would have, had scenario time run as fast as CLOCK_MONOTONIC.

    Both agree at the start of the scale, so that differences of stamps are seconds of scenario time.
    """
    if scale.is_real:
        return records
    start_s = scale.start_monotonic_s
    return [
        record.model_copy(update={"monotonic_s": start_s + scale.at(record.monotonic_s)})
        for record in records
    ]
