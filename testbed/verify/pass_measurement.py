"""The pass that `spaceverse verify` plays: RTT, loss and order of probes along it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from testbed.measure.capture_writer import CaptureWriter
from testbed.measure.captures import compare, read_capture
from testbed.network.clock import RealClock
from testbed.network.player import Change, Player
from testbed.verify.checks import Bounds, Check, delay_check, loss_check, none_check, shown_delay
from testbed.verify.link import MeasuredLink, Probed, link_rtt_s, required_stream, rtt_s
from testbed.verify.probe import PORT, RTT_FRAME_BYTES
from traces.trace import Open, Trace

Floats = npt.NDArray[np.float64]

EDGE_MARGIN_S = 0.05  # packets this close to AOS or LOS belong to the contacts' measurement, not the pass's
DRAIN_S = 0.5
CAPTURES = ("satellite.pcap", "ground.pcap")


@dataclass(frozen=True)
class AlongPass:
    """Requested and measured RTT along the pass; float64[n] each, seconds."""

    time_s: Floats
    requested_rtt_s: Floats
    measured_rtt_s: Floats


class PassMeasurement:
    """Plays a pass on a link and measures it.

    Args:
        link: the link.
        trace: the pass.
        bounds: of its errors.
        capture: folder for captures at both ends; None: nothing is captured.

    Attributes:
        along: requested and measured RTT along the pass; None before `measure`.
    """

    def __init__(self, link: MeasuredLink, trace: Trace, bounds: Bounds, capture: Path | None) -> None:
        self._link, self._trace, self._bounds, self._capture = link, trace, bounds, capture
        self._in_force_s: dict[float, float] = {}  # when each change was in force, by when it was due
        self.along: AlongPass | None = None

    def measure(self) -> list[Check]:
        """Play the pass with RTT probes and 250 small packets a second downwards.

        More would leave a slow guest, whose one processor plays the pass as well, no time to play it.
        """
        clock = RealClock(time.monotonic() + 0.2)
        clock_ns = time.clock_gettime_ns(time.CLOCK_REALTIME) - round(clock.now_s() * 1e9)
        changes: list[Change] = []
        with self._captured(), Player(clock, {self._link: self._trace}, changes.append) as player:
            probed = self._link.probe(
                rtt_s=0.02,
                for_s=self._trace.end_s - clock.now_s(),
                drain_s=DRAIN_S,
                down={"interval_s": 0.004, "frame_bytes": RTT_FRAME_BYTES},
            )
            if player.error is not None:
                raise player.error
        self._in_force_s = {change.time_s: change.time_s + change.lateness_s for change in changes}
        checks = self._check_pass(probed, clock_ns)
        return checks if self._capture is None else checks + self._check_captures(self._capture, clock_ns)

    @contextmanager
    def _captured(self) -> Iterator[None]:
        hosts = (self._link.satellite, self._link.ground)
        with ExitStack() as stack:
            for host, interface, name in zip(hosts, self._link.interfaces, CAPTURES, strict=True):
                if self._capture is not None:
                    stack.enter_context(CaptureWriter(host, interface, self._capture / name))
            yield

    def _check_captures(self, folder: Path, clock_ns: int) -> list[Check]:
        """Check one-way times of the probes, as the kernels stamped them, each way."""
        ways = compare(*(read_capture(folder / name) for name in CAPTURES))
        checks = []
        for way, crossed in ways.items():
            probes = crossed.only(lambda frame: frame.port == PORT)
            sent_s = (np.array([frame.at_ns for frame in probes.frames], dtype=np.int64) - clock_ns) / 1e9
            requested_s = self._requested_s(sent_s, way)
            steady = self._inside(sent_s, way) & self._inside(sent_s + requested_s, way)
            there = probes.arrived_ns > 0
            pairs = requested_s[steady & there], probes.one_way_s[steady[there]]
            what = f"one way {way} along the pass, by captures"
            checks += [
                delay_check("capture", what, *pairs, 50, self._bounds.rtt_p50_s),
                delay_check("capture", what, *pairs, 99, self._bounds.rtt_p99_s),
            ]
        return checks

    def _check_pass(self, probed: Probed, clock_ns: int) -> list[Check]:
        """Check the probes. Packets sent before a late AOS was in force are not counted as lost here."""
        down = required_stream(probed.down)
        answered = probed.answered_ns
        times_s = (answered - clock_ns) / 1e9
        steady = self._inside(times_s[:, 0], "both") & self._inside(times_s[:, 3], "both")
        requested_s = self._requested_s(times_s[:, 0], "down") + self._requested_s(times_s[:, 2], "up")
        measured_s, seen_s = link_rtt_s(answered), rtt_s(answered)
        self.along = AlongPass(times_s[steady, 0], requested_s[steady], measured_s[steady])
        sent_s = (down.sent_ns - clock_ns) / 1e9
        due = self._inside(sent_s, "down") & self._inside(sent_s + self._requested_s(sent_s, "down"), "down")
        missing = np.ones(len(sent_s), dtype=bool)
        missing[down.sequence] = False
        lost = int(np.sum(due & missing))
        requested_loss = float(np.mean(self._trace.down_loss[self._row(sent_s[due])])) if due.any() else 0.0
        what = "along the pass"
        pairs = (requested_s[steady], measured_s[steady])
        return [
            delay_check("pass", f"RTT {what}", *pairs, 50, self._bounds.rtt_p50_s),
            delay_check("pass", f"RTT {what}", *pairs, 99, self._bounds.rtt_p99_s),
            shown_delay("pass", "the same as programs see it", requested_s[steady], seen_s[steady], 99),
            none_check("pass", f"reordered {what}", down.reordered, int(due.sum())),
            none_check("pass", f"lost {what}", lost, int(due.sum()))
            if requested_loss == 0
            else loss_check("pass", f"lost {what}", requested_loss, int(due.sum()), lost),
        ]

    def _row(self, times_s: Floats) -> npt.NDArray[np.intp]:
        rows = np.searchsorted(self._trace.time_s, times_s, side="right") - 1
        return np.asarray(np.clip(rows, 0, len(self._trace) - 1))

    def _inside(self, times_s: Floats, of: Open) -> npt.NDArray[np.bool_]:
        inside = np.zeros(len(times_s), dtype=bool)
        for contact in self._trace.contacts(of):
            aos_s = self._in_force_s.get(contact.aos_s, contact.aos_s)
            begin_s, end_s = aos_s + EDGE_MARGIN_S, contact.los_s - EDGE_MARGIN_S
            inside |= (times_s > begin_s) & (times_s < end_s)
        return inside

    def _requested_s(self, times_s: Floats, direction: str) -> Floats:
        """Return the requested one-way time of a probe sent at `times_s`; meaningless outside contacts."""
        rows = self._row(times_s)
        delay_s = getattr(self._trace, f"{direction}_delay_s")[rows]
        rate_bit_s = np.maximum(getattr(self._trace, f"{direction}_bit_s")[rows], 1.0)
        return np.asarray(delay_s + RTT_FRAME_BYTES * 8 / rate_bit_s)
