"""The measurements of `spaceverse verify`, one after another on the same link."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from testbed.machine.starvation import Lateness, Starvation
from testbed.measure.capture_writer import CaptureWriter
from testbed.measure.captures import compare, read_capture
from testbed.network.clock import RealClock
from testbed.network.link_state import DOWN_STATE, GilbertElliott, LinkState
from testbed.network.player import Change, Player
from testbed.verify.checks import (
    FULL_FRAME_BYTES,
    Bounds,
    Check,
    at_most_check,
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
from testbed.verify.frames import Crossing, Frame, cross, make_frames
from testbed.verify.link import INTERFACE, MeasuredLink, Probed, Stream, link_rtt_s, rtt_s
from testbed.verify.probe import PORT, RTT_FRAME_BYTES
from traces.trace import Trace

Floats = npt.NDArray[np.float64]

DELAYS_S = (0.002, 0.005, 0.020, 0.300)
RATES_BIT_S = (0.1e6, 10e6, 50e6, 200e6)
MESSAGE_BYTES, MESSAGE_RATE_BIT_S = 10_000, 100e3
LOSSES = (0.01, 0.2)
BURSTY_LOSS, BURST_PACKETS = 0.1, 5.0
JITTERED_DELAY_S, JITTER_S = 0.02, 0.005
EDGE_MARGIN_S = 0.05  # packets this close to AOS or LOS belong to the contacts' measurement, not the pass's
DRAIN_S = 0.5
TRAIN_DELAY_S = 0.3
ATTEMPTS, LOOK_EVERY_S = 3, 0.1
FAST_BIT_S = 40e6  # slower than this any machine is
CAPTURES = ("satellite.pcap", "ground.pcap")
# Of a dense stream of which only count and order matter: on a slow guest's one processor a prober with
# real-time priority leaves the kernel no time to carry the packets, and its backlog (1000) drops them.
COUNTING: dict[str, Any] = {"drain_s": DRAIN_S, "real_time": False}


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Args:
        cells: (one-way delay, rate) of the RTT grid.
        rtt_probes: in each cell.
        tcp_rates_bit_s, udp_rates_bit_s: flows.
        tcp_s: length of a flow after its beginning, seconds; slow ones take twice as long.
        messages, losses, loss_packets, contacts: repetitions.
        pass_step_s: rows of the pass, in its own seconds; it is played at ten rows a second.
        piece_s: length of the user's trace that is played.
    """

    cells: tuple[tuple[float, float], ...]
    rtt_probes: int
    tcp_rates_bit_s: tuple[float, ...]
    udp_rates_bit_s: tuple[float, ...]
    tcp_s: float
    messages: int
    losses: tuple[float, ...]
    loss_packets: int
    contacts: int
    pass_step_s: float
    piece_s: float


FULL = Effort(
    cells=tuple(itertools.product(DELAYS_S, RATES_BIT_S)),
    rtt_probes=200,
    tcp_rates_bit_s=RATES_BIT_S,
    udp_rates_bit_s=RATES_BIT_S,
    tcp_s=3.0,
    messages=3,
    losses=LOSSES,
    loss_packets=4000,
    contacts=5,
    pass_step_s=1.0,
    piece_s=60.0,
)
QUICK = Effort(
    cells=tuple(zip(DELAYS_S, RATES_BIT_S[::-1], strict=True)),
    rtt_probes=80,
    tcp_rates_bit_s=(0.1e6, 10e6, 200e6),
    udp_rates_bit_s=(0.1e6, 200e6),
    tcp_s=1.2,
    messages=1,
    losses=LOSSES[1:],
    loss_packets=1000,
    contacts=2,
    pass_step_s=5.0,
    piece_s=8.0,
)


@dataclass(frozen=True)
class AlongPass:
    """Asked against measured along the pass; float64[n] each, seconds."""

    time_s: Floats
    asked_rtt_s: Floats
    measured_rtt_s: Floats


@dataclass
class Measurements:
    """Everything that verify measures, as a list of steps.

    Args:
        link: taken over; its state is anybody's guess afterwards.
        trace: the pass.
        unshaped: makes a link like it that nothing shapes: what the machine itself carries.
        capture: folder for captures of the pass; None: it is not captured.
    """

    link: MeasuredLink
    effort: Effort
    bounds: Bounds
    trace: Trace
    unshaped: Callable[[], MeasuredLink]
    capture: Path | None = None
    along: AlongPass | None = None
    lateness: Lateness = field(default_factory=Lateness)
    _in_force_s: dict[float, float] = field(default_factory=dict)  # asked for at, in force at; along the pass
    # By delay and rate: asked, of link, of programs.
    _grid: dict[tuple[float, float], tuple[Floats, Floats, Floats]] = field(default_factory=dict)
    _grid_lost: int = 0  # also in cells that were measured again

    def steps(self, only: Container[str]) -> Iterator[tuple[str, Callable[[], list[Check]]]]:
        """(what is measured, a function that measures it), in order; of the groups in `only`."""
        for group, name, measure in self._steps():
            if group in only:
                yield name, lambda measure=measure: self._watched(measure)  # type: ignore[misc]

    def _watched(self, measure: Callable[[], list[Check]]) -> list[Check]:
        """Measure; again, if a time or a rate was missed while the machine was away and else awake.

        What it missed then stands in its rows all the same, with how late timers were, but is not judged.
        What was missed otherwise, or in the last attempt, is judged; how late timers were stands in it too.
        """
        spoilt: list[Check] = []
        for repeats_left in reversed(range(ATTEMPTS)):
            with Starvation(LOOK_EVERY_S) as starvation:
                checks = measure()
            self.lateness.add(starvation)
            missed = [check for check in checks if self._missed(check)]
            if not (
                repeats_left and missed and starvation.descheduled and all(one.can_be_late for one in missed)
            ):
                break
            spoilt += [one.spoilt_by(str(starvation)) for one in missed]
        if starvation.starved:
            checks = [one if one.ok else one.noting(str(starvation)) for one in checks]
        return spoilt + checks

    def _missed(self, check: Check) -> bool:
        """Whether its bound was; of a cell of the grid also the whole grid's bound of p99."""
        return not check.ok or (check.judged and check.more.get("error_p99_s", 0) > self.bounds.rtt_p99_s)

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
        """RTT of single 64-byte frames on an idle link, from leaving a host to arriving at the other."""
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
        asked_s = np.full(len(measured_s), 2 * delay_s + 2 * serialisation_s)
        self._grid[delay_s, rate_bit_s] = asked_s, measured_s, rtt_s(probed.answered_ns)
        self._grid_lost += probed.lost
        return delay_check("rtt", name, asked_s, measured_s, 50, self.bounds.rtt_p50_s)

    def whole_grid(self) -> list[Check]:
        """The cells together: p99 needs more probes than one cell has."""
        asked_s, measured_s, seen_s = (
            np.concatenate(column) for column in zip(*self._grid.values(), strict=True)
        )
        return [
            delay_check("rtt", "RTT, whole grid", asked_s, measured_s, 50, self.bounds.rtt_p50_s),
            delay_check("rtt", "RTT, whole grid", asked_s, measured_s, 99, self.bounds.rtt_p99_s),
            shown_delay("rtt", "the same as programs see it", asked_s, seen_s, 50),
            shown_delay("rtt", "the same as programs see it", asked_s, seen_s, 99),
            none_check("rtt", "RTT probes lost", self._grid_lost, len(asked_s) + self._grid_lost),
        ]

    def tcp(self, rate_bit_s: float) -> list[Check]:
        """One flow that keeps the link busy; its window is smaller than the queue, so that none is lost.

        The window is 0.3 s of the link: what the receiver has not read yet does not wait before the link.
        Not longer: with 19 MB, and twice that in the sender's buffer, a flow in a guest once came to a halt;
        why is not known.
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
        """A train of full frames that fills the queue: frames after the first by the time they took.

        Its delay is longer than it takes to send the train, so that nobody has to send while frames arrive:
        in a guest with one processor each arrival interrupts the sender, the queue ran empty, and 200 Mbit/s
        were missed by 3 to 11 %.
        """
        count = max(12, round(rate_bit_s * 0.2 / 8 / FULL_FRAME_BYTES))

        def measure(link: MeasuredLink) -> tuple[float | None, Stream]:
            stream = _the(
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
        """A rate that was missed, beside what this machine carries; judged against that if it is less.

        The same flow through a link that nothing shapes, right after: what does not go through there cannot
        be asked of a link.  The row that is judged says so.
        """
        if check.ok or check.asked is None or check.asked < FAST_BIT_S:
            return [check]
        with self.unshaped() as link:
            link.fresh(LinkState(True, check.asked, 0.0))
            carried = measure(link)
        shown = share_check(
            check.group,
            f"{check.what}: unshaped, this machine carries",
            "bit/s",
            check.asked,
            carried,
            math.inf,
        )
        if carried is None or carried >= check.asked:
            return [check, shown]
        what = f"{check.what}: of what this machine carries"
        return [
            share_check(check.group, what, "bit/s", carried, check.measured, check.most, check.samples),
            shown,
        ]

    def message(self) -> Check:
        """10 kB by TCP over a link that was idle: what rate limits with a burst get wrong."""
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
        asked_s = message_s(MESSAGE_BYTES, MESSAGE_RATE_BIT_S, delay_s)
        what = f"10 kB message, idle {MESSAGE_RATE_BIT_S / 1e3:g} kbit/s"
        measured_s = float(np.median(taken_s))
        return share_check("message", what, "s", asked_s, measured_s, self.bounds.message_share, len(taken_s))

    def loss(self, probability: float) -> list[Check]:
        """Random loss, counted both ways at once."""
        state = LinkState(True, 20e6, 0.005, loss=probability)
        self.link.fresh(state)
        stream = {"interval_s": 0.0005, "frame_bytes": RTT_FRAME_BYTES}
        for_s = self.effort.loss_packets * stream["interval_s"]
        probed = self.link.probe(**COUNTING, for_s=for_s, down=stream, up=stream)
        return [
            loss_check("loss", f"loss {name}", probability, len(way.sent_ns), way.lost)
            for name, way in (("down", _the(probed.down)), ("up", _the(probed.up)))
        ]

    def bursty_loss(self) -> list[Check]:
        """A Gilbert-Elliott chain: how much it loses, and how many packets at a time."""
        chain = GilbertElliott.of(BURSTY_LOSS, BURST_PACKETS)
        self.link.fresh(LinkState(True, 20e6, 0.005, bursty_loss=chain))
        stream = {"interval_s": 0.0005, "frame_bytes": RTT_FRAME_BYTES}
        for_s = 2 * self.effort.loss_packets * stream["interval_s"]
        down = _the(self.link.probe(**COUNTING, for_s=for_s, down=stream).down)
        return burst_checks(chain, len(down.sent_ns), down.sequence)

    def jitter(self) -> list[Check]:
        """One-way times of packets that are too far apart to wait for each other; then of a dense stream."""
        self.link.fresh(LinkState(True, 20e6, JITTERED_DELAY_S, jitter_s=JITTER_S))
        count = self.effort.rtt_probes
        stream = {"interval_s": 2.2 * JITTER_S, "frame_bytes": RTT_FRAME_BYTES}
        for_s = count * stream["interval_s"]
        sparse = _the(self.link.probe(for_s=for_s, drain_s=DRAIN_S, down=stream).down)
        dense = {"interval_s": 0.001, "frame_bytes": RTT_FRAME_BYTES}
        crowded = _the(self.link.probe(**COUNTING, for_s=0.5, down=dense).down)
        one_way_s = (sparse.arrived_ns - sparse.sent_ns[sparse.sequence]) / 1e9
        asked_s = JITTERED_DELAY_S + RTT_FRAME_BYTES * 8 / 20e6
        return [
            *jitter_checks(asked_s, JITTER_S, one_way_s, self.bounds.rtt_p99_s),
            *_orderly("jitter", "dense stream with jitter", [crowded]),
        ]

    def frames(self) -> list[Check]:
        """ARP, IPv4, IPv6, neighbour discovery: whole, once, in time; none through a closed direction."""
        delay_s = 0.02
        source, destination = (host.read(INTERFACE).mac for host in (self.link.satellite, self.link.ground))
        frames = make_frames(source, destination, of_each=20)
        self.link.fresh(LinkState(True, 20e6, delay_s))
        crossings = self._cross(frames)
        broken = [one for one in crossings if len(one.arrived_ns) != 1]
        shaped = [one for one in crossings if one.frame.kind != "ARP" or self.link.shapes_arp]
        early = [
            one for one in shaped if any(at_ns - one.sent_ns < delay_s * 1e9 for at_ns in one.arrived_ns)
        ]
        self.link.set(DOWN_STATE, LinkState(True, 20e6, delay_s))  # the hosts still have a carrier
        leaked = [one for one in self._cross(frames) if one.arrived_ns]
        return [
            none_check("frames", "every kind: not once and whole", len(broken), len(crossings)),
            none_check("frames", "every kind: before its time", len(early), len(shaped)),
            none_check("frames", "through a closed direction", len(leaked), len(frames)),
        ]

    def _cross(self, frames: Sequence[Frame]) -> list[Crossing]:
        ends = (self.link.satellite, self.link.ground, INTERFACE)
        return cross(*ends, frames, interval_s=0.002, quiet_s=DRAIN_S)

    def falling_delay(self) -> list[Check]:
        """105 to 5 ms at once, 500 packets a second: later packets must not overtake, none may be lost."""
        high, low = LinkState(True, 20e6, 0.105), LinkState(True, 20e6, 0.005)
        self.link.fresh(high)

        def during() -> None:
            self.link.wait(0.3)
            self.link.set(low, low)

        stream = {"interval_s": 0.002, "frame_bytes": 200}
        probed = self.link.probe(during, **COUNTING, for_s=0.7, down=stream, up=stream)
        return _orderly("change", "delay falls by 100 ms", [_the(probed.down), _the(probed.up)])

    def along_pass(self) -> list[Check]:
        """The pass is played; RTT probes and 250 small packets a second downwards go along.

        More would leave a slow guest, whose one processor plays the pass as well, no time to play it.
        """
        clock = RealClock(time.monotonic() + 0.2)
        clock_ns = time.clock_gettime_ns(time.CLOCK_REALTIME) - round(clock.now_s() * 1e9)
        changes: list[Change] = []
        with self._captured(), Player(clock, {self.link: self.trace}, changes.append) as player:
            probed = self.link.probe(
                rtt_s=0.02,
                for_s=self.trace.end_s - clock.now_s(),
                drain_s=DRAIN_S,
                down={"interval_s": 0.004, "frame_bytes": RTT_FRAME_BYTES},
            )
            if player.error is not None:
                raise player.error
        self._in_force_s = {change.time_s: change.time_s + change.lateness_s for change in changes}
        checks = self._judge_pass(probed, clock_ns)
        return checks if self.capture is None else checks + self._judge_captures(self.capture, clock_ns)

    @contextmanager
    def _captured(self) -> Iterator[None]:
        hosts = (self.link.satellite, self.link.ground)
        with ExitStack() as stack:
            for host, interface, name in zip(hosts, self.link.interfaces, CAPTURES, strict=True):
                if self.capture is not None:
                    stack.enter_context(CaptureWriter(host, interface, self.capture / name))
            yield

    def _judge_captures(self, folder: Path, clock_ns: int) -> list[Check]:
        """One-way times of the probes as the kernels stamped them, each way."""
        ways = compare(*(read_capture(folder / name) for name in CAPTURES))
        checks = []
        for way, crossed in ways.items():
            probes = crossed.only(lambda frame: frame.port == PORT)
            sent_s = (np.array([frame.at_ns for frame in probes.frames], dtype=np.int64) - clock_ns) / 1e9
            asked_s = self._asked_s(sent_s, way)
            steady = self._inside(sent_s) & self._inside(sent_s + asked_s)
            there = probes.arrived_ns > 0
            judged = asked_s[steady & there], probes.one_way_s[steady[there]]
            what = f"one way {way} along the pass, by captures"
            checks += [
                delay_check("capture", what, *judged, 50, self.bounds.rtt_p50_s),
                delay_check("capture", what, *judged, 99, self.bounds.rtt_p99_s),
            ]
        return checks

    def _judge_pass(self, probed: Probed, clock_ns: int) -> list[Check]:
        """What was sent before a late AOS was in force is not lost along the pass: contacts() judges AOS."""
        down = _the(probed.down)
        answered = probed.answered_ns
        times_s = (answered - clock_ns) / 1e9
        steady = self._inside(times_s[:, 0]) & self._inside(times_s[:, 3])
        asked_s = self._asked_s(times_s[:, 0], "down") + self._asked_s(times_s[:, 2], "up")
        measured_s, seen_s = link_rtt_s(answered), rtt_s(answered)
        self.along = AlongPass(times_s[steady, 0], asked_s[steady], measured_s[steady])
        sent_s = (down.sent_ns - clock_ns) / 1e9
        due = self._inside(sent_s) & self._inside(sent_s + self._asked_s(sent_s, "down"))
        missing = np.ones(len(sent_s), dtype=bool)
        missing[down.sequence] = False
        lost = int(np.sum(due & missing))
        asked_loss = float(np.mean(self.trace.down_loss[self._row(sent_s[due])])) if due.any() else 0.0
        what = "along the pass"
        judged = (asked_s[steady], measured_s[steady])
        return [
            delay_check("pass", f"RTT {what}", *judged, 50, self.bounds.rtt_p50_s),
            delay_check("pass", f"RTT {what}", *judged, 99, self.bounds.rtt_p99_s),
            shown_delay("pass", "the same as programs see it", asked_s[steady], seen_s[steady], 99),
            none_check("pass", f"reordered {what}", down.reordered, int(due.sum())),
            none_check("pass", f"lost {what}", lost, int(due.sum()))
            if asked_loss == 0
            else loss_check("pass", f"lost {what}", asked_loss, int(due.sum()), lost),
        ]

    def _row(self, times_s: Floats) -> npt.NDArray[np.intp]:
        rows = np.searchsorted(self.trace.time_s, times_s, side="right") - 1
        return np.asarray(np.clip(rows, 0, len(self.trace) - 1))

    def _inside(self, times_s: Floats) -> npt.NDArray[np.bool_]:
        inside = np.zeros(len(times_s), dtype=bool)
        for contact in self.trace.contacts():
            aos_s = self._in_force_s.get(contact.aos_s, contact.aos_s)
            begin_s, end_s = aos_s + EDGE_MARGIN_S, contact.los_s - EDGE_MARGIN_S
            inside |= (times_s > begin_s) & (times_s < end_s)
        return inside

    def _asked_s(self, times_s: Floats, direction: str) -> Floats:
        """One-way time of a probe that is sent at `times_s`; meaningless outside contacts."""
        rows = self._row(times_s)
        delay_s = getattr(self.trace, f"{direction}_delay_s")[rows]
        rate_bit_s = np.maximum(getattr(self.trace, f"{direction}_bit_s")[rows], 1.0)
        return np.asarray(delay_s + RTT_FRAME_BYTES * 8 / rate_bit_s)

    def contacts(self) -> list[Check]:
        """Contacts of 0.3 s on an overloaded link: packets wait and fly when each of them ends."""
        state = LinkState(True, 20e6, 0.005, queue_bytes=200_000)
        edges = _Edges(self.link, state, self.effort.contacts)
        self.link.set(DOWN_STATE, DOWN_STATE)
        # 1.2 times the rate: there is always something that could leak after the end.
        frame_bytes = FULL_FRAME_BYTES
        stream = {"interval_s": frame_bytes * 8 / 24e6, "frame_bytes": frame_bytes}
        probed = self.link.probe(
            edges.play, for_s=0.6 * self.effort.contacts + 0.3, drain_s=0.3, real_time=False, down=stream
        )
        arrived_ns = _the(probed.down).arrived_ns
        after, first_s, last_s = edges.judge(arrived_ns)
        most_s, last_most_s = self.bounds.first_packet_s, self.bounds.last_packet_s
        return [
            none_check("contact", "bytes after LOS", after * frame_bytes, len(arrived_ns), "bytes"),
            at_most_check("contact", "LOS as scheduled to last packet", last_s, last_most_s),
            at_most_check("contact", "AOS as scheduled to first packet (5 ms delay)", first_s, most_s),
        ]


class _Edges:
    """Contacts of 0.3 s every 0.6 s, played by a player, and when each change was in force."""

    def __init__(self, link: MeasuredLink, state: LinkState, contacts: int) -> None:
        self.link, self.state, self.count = link, state, contacts
        self.aos_ns: list[int] = []
        self.los_ns: list[int] = []
        self.down_ns: list[int] = []  # when the change at LOS had been made and read back

    def play(self) -> None:
        """Play the contacts on absolute deadlines, as `Player` does."""
        begin_s = time.monotonic() + 0.3
        offset_ns = time.clock_gettime_ns(time.CLOCK_REALTIME) - time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        for number in range(self.count):
            aos_s = begin_s + 0.6 * number
            self._change_at(aos_s, self.state)
            self.aos_ns.append(round(aos_s * 1e9) + offset_ns)
            self._change_at(aos_s + 0.3, DOWN_STATE)
            self.los_ns.append(round((aos_s + 0.3) * 1e9) + offset_ns)
            self.down_ns.append(time.clock_gettime_ns(time.CLOCK_REALTIME))

    def _change_at(self, time_s: float, state: LinkState) -> None:
        time.sleep(max(0.0, time_s - time.monotonic()))
        self.link.set(state, state)

    def judge(self, arrived_ns: npt.NDArray[np.int64]) -> tuple[int, list[float], list[float]]:
        """Packets after the link was down; per contact, seconds from AOS to first and from LOS to last."""
        after, first_s, last_s = 0, [], []
        for aos_ns, los_ns, down_ns in zip(self.aos_ns, self.los_ns, self.down_ns, strict=True):
            own = arrived_ns[(arrived_ns >= aos_ns) & (arrived_ns < aos_ns + 600_000_000)]
            after += int(np.sum(own > down_ns))
            first_s.append((own[0] - aos_ns) / 1e9 if len(own) else math.nan)
            last_s.append((own[-1] - los_ns) / 1e9 if len(own) else math.nan)
        return after, first_s, last_s


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


def _the(stream: Stream | None) -> Stream:
    if stream is None:
        raise ValueError("the prober was not asked for this stream")
    return stream


def _mbit(rate_bit_s: float) -> str:
    return f"{rate_bit_s / 1e6:g} Mbit/s"
