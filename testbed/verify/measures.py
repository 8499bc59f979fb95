"""The measurements of `spaceverse verify`, one after another on the same link."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from testbed.machine.starvation import Lateness, Starvation
from testbed.network.link_state import DOWN_STATE, GilbertElliott, LinkState
from testbed.verify.checks import (
    FULL_FRAME_BYTES,
    Bounds,
    Check,
    burst_checks,
    delay_check,
    goodput_bit_s,
    jitter_checks,
    loss_check,
    message_s,
    none_check,
    share_check,
    shown_delay,
)
from testbed.verify.contact_edges import measure_contacts
from testbed.verify.effort import Effort
from testbed.verify.frames import Crossing, Frame, cross, make_frames
from testbed.verify.link import INTERFACE, MeasuredLink, Stream, link_rtt_s, required_stream, rtt_s
from testbed.verify.pass_measurement import AlongPass, PassMeasurement
from testbed.verify.probe import RTT_FRAME_BYTES
from traces.trace import Trace

Floats = npt.NDArray[np.float64]

MESSAGE_BYTES, MESSAGE_RATE_BIT_S = 10_000, 100e3
BURSTY_LOSS, BURST_PACKETS = 0.1, 5.0
JITTERED_DELAY_S, JITTER_S = 0.02, 0.005
DRAIN_S = 0.5
TRAIN_DELAY_S = 0.3
ATTEMPTS, LOOK_EVERY_S = 3, 0.1
FAST_BIT_S = 40e6  # any machine carries less than this
# Of a dense stream of which only count and order matter: on a slow guest's one processor a prober with
# real-time priority leaves the kernel no time to carry the packets, and its backlog (1000) drops them.
COUNTING: dict[str, Any] = {"drain_s": DRAIN_S, "real_time": False}


@dataclass
class Measurements:
    """All measurements of `spaceverse verify`, as a list of steps.

    Args:
        link: the measured link; its state afterwards is undefined.
        trace: the pass.
        unshaped: returns an equal link without a shaper, which shows the rate that the machine can carry.
        capture: folder for captures of the pass; None: no captures.
    """

    link: MeasuredLink
    effort: Effort
    bounds: Bounds
    trace: Trace
    unshaped: Callable[[], MeasuredLink]
    capture: Path | None = None
    along: AlongPass | None = None
    lateness: Lateness = field(default_factory=Lateness)
    # RTTs by delay and rate: requested, measured by the kernels, seen by programs.
    _grid: dict[tuple[float, float], tuple[Floats, Floats, Floats]] = field(default_factory=dict)
    _grid_lost: int = 0  # also in cells that were measured again

    def steps(self, only: Container[str]) -> Iterator[tuple[str, Callable[[], list[Check]]]]:
        """Yield the name of each measurement and a function that makes it, for the groups in `only`."""
        for group, name, measure in self._steps():
            if group in only:
                yield name, lambda measure=measure: self._watched(measure)  # type: ignore[misc]

    def _watched(self, measure: Callable[[], list[Check]]) -> list[Check]:
        """Measure; repeat if a time or a rate was missed while the machine was descheduled once.

        The rows of such an attempt are shown with the lateness of timers, but not checked. Other misses, and
        those of the last attempt, are checked; they show the lateness of timers too.
        """
        spoilt: list[Check] = []
        for repeats_left in reversed(range(ATTEMPTS)):
            with Starvation(LOOK_EVERY_S) as starvation:
                checks = measure()
            self.lateness.add(starvation)
            missed = [check for check in checks if self._missed(check)]
            if not (
                repeats_left
                and missed
                and starvation.descheduled
                and all(check.can_be_late for check in missed)
            ):
                break
            spoilt += [check.spoilt_by(str(starvation)) for check in missed]
        if starvation.starved:
            checks = [check if check.ok else check.noting(str(starvation)) for check in checks]
        return spoilt + checks

    def _missed(self, check: Check) -> bool:
        """Return whether a bound was missed; for a cell of the grid also the whole grid's bound of p99."""
        return not check.ok or (check.checked and check.more.get("error_p99_s", 0) > self.bounds.rtt_p99_s)

    def _steps(self) -> Iterator[tuple[str, str, Callable[[], list[Check]]]]:
        for delay_s, rate_bit_s in self.effort.cells:
            name = f"RTT, {delay_s * 1e3:g} ms each way, {_mbit(rate_bit_s)}"
            yield "rtt", name, lambda d=delay_s, r=rate_bit_s, n=name: [self.rtt(n, d, r)]  # type: ignore[misc]
        yield "rtt", "RTT, whole grid", self.whole_grid
        for rate_bit_s in self.effort.tcp_rates_bit_s:
            yield "tcp", f"TCP goodput, {_mbit(rate_bit_s)}", lambda r=rate_bit_s: self.tcp(r)  # type: ignore[misc]
        for rate_bit_s in self.effort.udp_rates_bit_s:
            yield "udp", f"UDP rate, {_mbit(rate_bit_s)}", lambda r=rate_bit_s: self.udp(r)  # type: ignore[misc]
        yield "message", "small message", lambda: [self.message()]
        for loss in self.effort.losses:
            yield "loss", f"loss of {loss:.0%}", lambda p=loss: self.loss(p)  # type: ignore[misc]
        yield "loss", "loss in bursts", self.bursty_loss
        yield "jitter", "jitter", self.jitter
        yield "change", "delay that falls by 100 ms", self.falling_delay
        yield "frames", "frames of every kind", self.frames
        yield "pass", "pass", self.along_pass
        yield "contact", "contacts", self.contacts

    def rtt(self, name: str, delay_s: float, rate_bit_s: float) -> Check:
        """Measure RTTs of single 64-byte frames on an idle link, between the kernels of both hosts."""
        state = LinkState(True, rate_bit_s, delay_s, queue_bytes=200_000)
        self.link.fresh(state)
        serialisation_s = RTT_FRAME_BYTES * 8 / rate_bit_s
        interval_s = max(0.008, 2.5 * serialisation_s)  # so that no probe waits for the one before
        probed = self.link.probe(
            rtt_s=interval_s,
            count=self.effort.rtt_probes,
            for_s=2 * self.effort.rtt_probes * interval_s,
            drain_s=2 * delay_s + DRAIN_S,
        )
        measured_s = link_rtt_s(probed.answered_ns)
        requested_s = np.full(len(measured_s), 2 * delay_s + 2 * serialisation_s)
        self._grid[delay_s, rate_bit_s] = requested_s, measured_s, rtt_s(probed.answered_ns)
        self._grid_lost += probed.lost
        return delay_check("rtt", name, requested_s, measured_s, 50, self.bounds.rtt_p50_s)

    def whole_grid(self) -> list[Check]:
        """Combine the cells: p99 needs more probes than one cell has."""
        requested_s, measured_s, seen_s = (
            np.concatenate(column) for column in zip(*self._grid.values(), strict=True)
        )
        return [
            delay_check("rtt", "RTT, whole grid", requested_s, measured_s, 50, self.bounds.rtt_p50_s),
            delay_check("rtt", "RTT, whole grid", requested_s, measured_s, 99, self.bounds.rtt_p99_s),
            shown_delay("rtt", "the same as programs see it", requested_s, seen_s, 50),
            shown_delay("rtt", "the same as programs see it", requested_s, seen_s, 99),
            none_check("rtt", "RTT probes lost", self._grid_lost, len(requested_s) + self._grid_lost),
        ]

    def tcp(self, rate_bit_s: float) -> list[Check]:
        """Measure one TCP flow that keeps the link busy; its window fits the queue, so nothing is lost.

        The window is 0.3 s of the link: what the receiver has not read yet does not wait before the link.
        With much larger windows and buffers a flow in a guest may stop, for an unknown reason.
        """
        window_bytes = max(120_000, round(rate_bit_s / 8 * 0.3))
        self.link.fresh(LinkState(True, rate_bit_s, 0.005, queue_bytes=2 * window_bytes))
        slow = 2 if rate_bit_s < 1e6 else 1
        received = self.link.pump((1 + self.effort.tcp_s) * slow, window_bytes)
        measured = _slope(received[received[:, 0] >= slow])
        check = share_check(
            "tcp",
            f"TCP goodput, {_mbit(rate_bit_s)}",
            "bit/s",
            goodput_bit_s(rate_bit_s),
            None if measured is None else 8 * measured,
            self.bounds.tcp_share,
            len(received),
        )

        def carried(link: MeasuredLink) -> float | None:
            received = link.pump(1 + self.effort.tcp_s, window_bytes)
            bytes_s = _slope(received[received[:, 0] >= 1])
            return None if bytes_s is None else 8 * bytes_s

        return self._beside_the_machine(check, carried)

    def udp(self, rate_bit_s: float) -> list[Check]:
        """Measure a train of full frames that fills the queue: frames after the first, divided by their time.

        The delay is longer than it takes to send the train, so that sending has ended when frames arrive:
        in a guest with one processor each arrival interrupts the sender, and the queue would run empty.
        """
        count = max(12, round(rate_bit_s * 0.2 / 8 / FULL_FRAME_BYTES))

        def measure(link: MeasuredLink) -> tuple[float | None, Stream]:
            stream = required_stream(
                link.probe(
                    for_s=0.001,
                    drain_s=2 * count * FULL_FRAME_BYTES * 8 / rate_bit_s + DRAIN_S,
                    real_time=False,
                    train=count,
                    leisure_s=TRAIN_DELAY_S + 1.2 * count * FULL_FRAME_BYTES * 8 / rate_bit_s,
                    down={"interval_s": 1.0, "frame_bytes": FULL_FRAME_BYTES},
                ).down
            )
            arrived = np.column_stack([stream.arrived_ns / 1e9, np.arange(len(stream.arrived_ns))])
            frames_s = _slope(arrived)
            return None if frames_s is None else frames_s * 8 * FULL_FRAME_BYTES, stream

        # All of it fits in the queue, however quickly it is sent.
        self.link.fresh(LinkState(True, rate_bit_s, TRAIN_DELAY_S, queue_bytes=2 * count * FULL_FRAME_BYTES))
        measured, stream = measure(self.link)
        what = f"UDP rate, {_mbit(rate_bit_s)}"
        arrived = len(stream.sequence)
        check = share_check("udp", what, "bit/s", rate_bit_s, measured, self.bounds.udp_share, arrived)
        check.more["sent_within_s"] = float(np.ptp(stream.sent_ns[:count])) / 1e9
        return self._beside_the_machine(check, lambda link: measure(link)[0])

    def _beside_the_machine(
        self, check: Check, measure: Callable[[MeasuredLink], float | None]
    ) -> list[Check]:
        """Compare a missed rate with what this machine carries; if that is less, check the link against it.

        The same flow is measured over a link without a shaper right after: no link can carry more. The row
        that is checked says so.
        """
        if check.ok or check.requested is None or check.requested < FAST_BIT_S:
            return [check]
        with self.unshaped() as link:
            link.fresh(LinkState(True, check.requested, 0.0))
            carried = measure(link)
        shown = share_check(
            check.group,
            f"{check.what}: unshaped, this machine carries",
            "bit/s",
            check.requested,
            carried,
            math.inf,
        )
        if carried is None or carried >= check.requested:
            return [check, shown]
        what = f"{check.what}: of what this machine carries"
        return [
            share_check(check.group, what, "bit/s", carried, check.measured, check.most, check.samples),
            shown,
        ]

    def message(self) -> Check:
        """Send 10 kB by TCP over an idle link, where rate limiters with a burst are too fast."""
        delay_s = 0.002
        state = LinkState(True, MESSAGE_RATE_BIT_S, delay_s, queue_bytes=200_000)
        taken_s = []
        for _ in range(self.effort.messages):
            self.link.fresh(state)
            with self.link.connection() as (sender, receiver):
                self.link.wait(0.5)  # idle for long enough to save up credit
                receiver.settimeout(5)
                begin_s = time.monotonic()
                sender.sendall(bytes(MESSAGE_BYTES))
                left = MESSAGE_BYTES
                while left:
                    left -= len(receiver.recv(left))
                taken_s.append(time.monotonic() - begin_s)
        requested_s = message_s(MESSAGE_BYTES, MESSAGE_RATE_BIT_S, delay_s)
        what = f"10 kB message, idle {MESSAGE_RATE_BIT_S / 1e3:g} kbit/s"
        measured_s = float(np.median(taken_s))
        return share_check(
            "message", what, "s", requested_s, measured_s, self.bounds.message_share, len(taken_s)
        )

    def loss(self, probability: float) -> list[Check]:
        """Measure random loss, both ways at once."""
        state = LinkState(True, 20e6, 0.005, loss=probability)
        self.link.fresh(state)
        stream = {"interval_s": 0.0005, "frame_bytes": RTT_FRAME_BYTES}
        for_s = self.effort.loss_packets * stream["interval_s"]
        probed = self.link.probe(**COUNTING, for_s=for_s, down=stream, up=stream)
        return [
            loss_check("loss", f"loss {name}", probability, len(way.sent_ns), way.lost)
            for name, way in (("down", required_stream(probed.down)), ("up", required_stream(probed.up)))
        ]

    def bursty_loss(self) -> list[Check]:
        """Measure a Gilbert-Elliott chain: its loss, and the length of its bursts."""
        chain = GilbertElliott.of(BURSTY_LOSS, BURST_PACKETS)
        self.link.fresh(LinkState(True, 20e6, 0.005, bursty_loss=chain))
        stream = {"interval_s": 0.0005, "frame_bytes": RTT_FRAME_BYTES}
        for_s = 2 * self.effort.loss_packets * stream["interval_s"]
        down = required_stream(self.link.probe(**COUNTING, for_s=for_s, down=stream).down)
        return burst_checks(chain, len(down.sent_ns), down.sequence)

    def jitter(self) -> list[Check]:
        """Measure one-way times of packets too far apart to wait for each other, then of a dense stream."""
        self.link.fresh(LinkState(True, 20e6, JITTERED_DELAY_S, jitter_s=JITTER_S))
        count = self.effort.rtt_probes
        stream = {"interval_s": 2.2 * JITTER_S, "frame_bytes": RTT_FRAME_BYTES}
        for_s = count * stream["interval_s"]
        sparse = required_stream(self.link.probe(for_s=for_s, drain_s=DRAIN_S, down=stream).down)
        dense = {"interval_s": 0.001, "frame_bytes": RTT_FRAME_BYTES}
        crowded = required_stream(self.link.probe(**COUNTING, for_s=0.5, down=dense).down)
        one_way_s = (sparse.arrived_ns - sparse.sent_ns[sparse.sequence]) / 1e9
        requested_s = JITTERED_DELAY_S + RTT_FRAME_BYTES * 8 / 20e6
        return [
            *jitter_checks(requested_s, JITTER_S, one_way_s, self.bounds.rtt_p99_s),
            *_orderly("jitter", "dense stream with jitter", [crowded]),
        ]

    def frames(self) -> list[Check]:
        """Send frames of every kind: each arrives whole, once, in time; none through a closed direction."""
        delay_s = 0.02
        source, destination = (host.read(INTERFACE).mac for host in (self.link.satellite, self.link.ground))
        frames = make_frames(source, destination, of_each=20)
        self.link.fresh(LinkState(True, 20e6, delay_s))
        crossings = self._cross(frames)
        broken = [crossing for crossing in crossings if len(crossing.arrived_ns) != 1]
        shaped = [crossing for crossing in crossings if crossing.frame.kind != "ARP" or self.link.shapes_arp]
        early = [
            crossing
            for crossing in shaped
            if any(at_ns - crossing.sent_ns < delay_s * 1e9 for at_ns in crossing.arrived_ns)
        ]
        self.link.set(DOWN_STATE, LinkState(True, 20e6, delay_s))  # the hosts still have a carrier
        leaked = [crossing for crossing in self._cross(frames) if crossing.arrived_ns]
        return [
            none_check("frames", "every kind: not once and whole", len(broken), len(crossings)),
            none_check("frames", "every kind: before its time", len(early), len(shaped)),
            none_check("frames", "through a closed direction", len(leaked), len(frames)),
        ]

    def _cross(self, frames: Sequence[Frame]) -> list[Crossing]:
        ends = (self.link.satellite, self.link.ground, INTERFACE)
        return cross(*ends, frames, interval_s=0.002, quiet_s=DRAIN_S)

    def falling_delay(self) -> list[Check]:
        """Reduce the delay from 105 to 5 ms under 500 packets a second: none may overtake or be lost."""
        high, low = LinkState(True, 20e6, 0.105), LinkState(True, 20e6, 0.005)
        self.link.fresh(high)

        def during() -> None:
            self.link.wait(0.3)
            self.link.set(low, low)

        stream = {"interval_s": 0.002, "frame_bytes": 200}
        probed = self.link.probe(during, **COUNTING, for_s=0.7, down=stream, up=stream)
        return _orderly(
            "change", "delay falls by 100 ms", [required_stream(probed.down), required_stream(probed.up)]
        )

    def along_pass(self) -> list[Check]:
        """Play the pass and measure along it."""
        measurement = PassMeasurement(self.link, self.trace, self.bounds, self.capture)
        checks = measurement.measure()
        self.along = measurement.along
        return checks

    def contacts(self) -> list[Check]:
        """Measure how exactly contacts begin and end."""
        return measure_contacts(self.link, self.effort.contacts, self.bounds)


def _orderly(group: str, what: str, streams: Sequence[Stream]) -> list[Check]:
    samples = sum(len(stream.sent_ns) for stream in streams)
    return [
        none_check(group, f"{what}: reordered", sum(stream.reordered for stream in streams), samples),
        none_check(group, f"{what}: lost", sum(stream.lost for stream in streams), samples),
    ]


def _slope(points: Floats) -> float | None:
    """Amount a second between the first and the last of float64[n, 2]: seconds, amount so far."""
    if len(points) < 2 or points[-1, 0] <= points[0, 0]:
        return None
    return float((points[-1, 1] - points[0, 1]) / (points[-1, 0] - points[0, 0]))


def _mbit(rate_bit_s: float) -> str:
    return f"{rate_bit_s / 1e6:g} Mbit/s"
