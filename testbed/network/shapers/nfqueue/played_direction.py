"""One direction of a link in the process that plays it: its NFQUEUE and its model."""

from __future__ import annotations

import time
from collections import deque

from testbed.measure.probe import RTT_FRAME_BYTES
from testbed.network.link_state import LinkState
from testbed.network.shapers.nfqueue.model import LinkModel
from testbed.network.shapers.nfqueue.packet_queue import KERNEL_QUEUE_PACKETS, PacketQueue
from testbed.network.shapers.super_packets import may_pass

READ_AT_MOST = 64  # packets of one queue before other queues, and due packets, get their turn
LATENESS_STEP_S, LATENESS_STEPS = 10e-6, 2000
OLDEST_STAMP_S = 2.0
QUEUES_KEPT = 4096  # 17 minutes of probes


class Lateness:
    """Lateness of packet releases: a histogram in steps of 10 us."""

    def __init__(self) -> None:
        self._counts = [0] * (LATENESS_STEPS + 1)
        self._total = 0
        self._worst_s = 0.0

    def add(self, late_s: float) -> None:
        """Count one release."""
        self._counts[min(int(late_s / LATENESS_STEP_S), LATENESS_STEPS)] += 1
        self._total += 1
        self._worst_s = max(self._worst_s, late_s)

    def summary(self) -> dict[str, float]:
        """Return median, 99th percentile and worst, seconds."""
        return {"p50_s": self._quantile(0.5), "p99_s": self._quantile(0.99), "worst_s": self._worst_s}

    def _quantile(self, share: float) -> float:
        wanted, seen = share * self._total, 0
        for step, count in enumerate(self._counts):
            seen += count
            if seen >= wanted:
                return step * LATENESS_STEP_S
        return self._worst_s


class PlayedDirection:
    """A queue, its model, and its place in the agenda.

    Args:
        queue_number: number of the NFQUEUE.
        seed: of loss and jitter.
        super_packets: whether the hosts send super-packets where the state allows them.

    Attributes:
        queues_met: of each frame of an RTT probe's size, when it arrived (CLOCK_MONOTONIC) and the bytes that
            waited before it; the latest ones.
    """

    def __init__(self, queue_number: int, seed: int, *, super_packets: bool = False) -> None:
        self._super_packets = super_packets
        self.queue = PacketQueue(queue_number)
        self.model = LinkModel(seed)
        self.lateness = Lateness()
        self.queues_met: deque[tuple[float, float]] = deque(maxlen=QUEUES_KEPT)
        self.planned_s = float("inf")  # the time of its valid entry in the agenda

    def take_in(self) -> int:
        """Read packets that wait in the socket, READ_AT_MOST at a time; return how many it read."""
        offset_s = time.time() - time.monotonic()
        refused: list[int] = []
        taken = 0
        while taken < READ_AT_MOST and (packet := self.queue.read()) is not None:
            taken += 1
            packet_id, size_bytes, arrived_s, segments = packet
            now_s = time.monotonic()
            arrived_s -= offset_s
            if not now_s - OLDEST_STAMP_S < arrived_s <= now_s:  # no stamp, or the clock was set
                arrived_s = now_s
            if size_bytes == RTT_FRAME_BYTES:
                self.queues_met.append((arrived_s, self.model.waiting_bytes(arrived_s)))
            if not self.model.arrive(packet_id, size_bytes, arrived_s, segments):
                refused.append(packet_id)
        if refused:
            self.queue.drop(refused)
        return taken

    def let_out(self, now_s: float) -> None:
        """Send the verdicts that are due at `now_s`."""
        due_s = self.model.next_due_s
        if due_s is None or due_s > now_s:
            return
        self.lateness.add(now_s - due_s)
        for verdict in self.model.release(now_s):
            if verdict.accept:
                self.queue.accept_up_to(verdict.last_id)
            else:
                self.queue.drop_up_to(verdict.last_id)

    def set(self, state: LinkState) -> None:
        """Adopt a state; going down drops the packets inside, also those that have not been read yet."""
        if self._super_packets and state.up and self.queue.whole != may_pass(state):
            self.queue.pass_whole(not self.queue.whole)
            self._take_in_all()  # what came whole belongs to the state before this one
        now_s = time.monotonic()
        self.let_out(now_s)
        purge = self.model.set(state, now_s)
        if purge is not None:
            self.queue.drop_up_to(purge.last_id)
        if not state.up:
            self._take_in_all()

    def _take_in_all(self) -> None:
        for _ in range(KERNEL_QUEUE_PACKETS // READ_AT_MOST):
            if self.take_in() < READ_AT_MOST:
                break
