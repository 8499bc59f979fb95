"""Model of one direction of a link: when each packet leaves at the other end, if at all.

    arrive ──> waits for serialisation (drop-tail, rate) ──> propagates (delay, jitter) ──> due, in order

There is no clock and no socket: times are passed in, so that the model can be tested to the microsecond.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

from testbed.network.link_state import DOWN_STATE, GilbertElliott, LinkState, OnContactEnd


class Parcel(NamedTuple):
    """A packet inside the link: `done_s` is the end of its serialisation, `due_s` when it leaves.

    A super-packet is one parcel of several packets.
    """

    due_s: float
    done_s: float
    packet_id: int
    size_bytes: int
    lost: bool
    jitter_share: float  # of the jitter that holds when its last bit is sent, -1 to 1
    packets: int = 1


class Verdict(NamedTuple):
    """The verdict on every parcel up to `last_id` that has none yet."""

    accept: bool
    last_id: int
    packets: int
    size_bytes: int


@dataclass
class Counters:
    """Packet counters of one direction since it was attached."""

    arrived: int = 0
    delivered: int = 0
    delivered_bytes: int = 0
    lost: int = 0  # by the link's loss
    dropped_queue: int = 0  # the queue was full
    dropped_down: int = 0  # came while the link was down
    purged: int = 0  # were inside when the link went down


class Fates:
    """Draws the fate of packet number 0, 1, 2, ... of one direction.

    Every packet takes the same number of draws whatever the state, so that packet n of two runs with the
    same seed draws the same numbers, though the states before it may have come at other moments.
    """

    def __init__(self, seed: int) -> None:
        self._draw = random.Random(seed).random  # noqa: S311 - repeatable on purpose
        self._bad = False  # the state of the Gilbert-Elliott chain; it outlives a change of the link's state

    def next(self, state: LinkState) -> tuple[bool, float]:
        """Return whether the next packet is lost, and its share of the jitter, -1 to 1."""
        loss_draw, step_draw, jitter_share = self._draw(), self._draw(), 2 * self._draw() - 1
        chain = state.bursty_loss
        if chain is None:
            return loss_draw < state.loss, jitter_share
        return self._step(chain, loss_draw, step_draw), jitter_share

    def _step(self, chain: GilbertElliott, loss_draw: float, step_draw: float) -> bool:
        lost = loss_draw < (chain.bad_loss if self._bad else chain.good_loss)
        if step_draw < (chain.bad_to_good if self._bad else chain.good_to_bad):
            self._bad = not self._bad
        return lost


class LinkModel:
    """Rate, delay, jitter, loss and queue of one direction; starts down.

    Args:
        seed: of loss and jitter; packet number n of two runs with the same seed meets the same fate.
    """

    def __init__(self, seed: int = 0) -> None:
        self.state = DOWN_STATE
        self.counters = Counters()
        self._fates = Fates(seed)
        self._parcels: deque[Parcel] = deque()
        self._idle_from_s = 0.0  # when what was queued so far has been serialised
        self._last_due_s = 0.0
        self._bytes_s = 1.0  # until the first state; what came before it is timed anew
        self._queue_bytes = DOWN_STATE.queue_limit_bytes
        self._held_from_s: float | None = None  # since when time stands still in the link

    @property
    def next_due_s(self) -> float | None:
        """Time when the next parcel leaves; None if the link is empty or held."""
        return self._parcels[0].due_s if self._parcels and self._held_from_s is None else None

    @property
    def inside(self) -> int:
        """Packets that wait or fly now."""
        return sum(parcel.packets for parcel in self._parcels)

    def waiting_bytes(self, now_s: float) -> float:
        """Return the bytes that a packet that arrives at `now_s` finds before it, still to be serialised."""
        if self._held_from_s is not None:
            now_s = self._held_from_s
        return max(0.0, self._idle_from_s - now_s) * self._bytes_s

    def arrive(self, packet_id: int, size_bytes: int, now_s: float, packets: int = 1) -> bool:
        """Admit a packet of `size_bytes`, Ethernet header included; return False if it is dropped.

        Args:
            packet_id: the kernel's number.
            size_bytes: of a super-packet with the headers that each of its packets would have.
            now_s: when it came.
            packets: how many packets it stands for.
        """
        counters = self.counters
        counters.arrived += packets
        lost, jitter_share = self._fates.next(self.state)  # for each packet, also one that is dropped
        for _ in range(packets - 1):
            lost, jitter_share = self._fates.next(self.state)
        if self._held_from_s is not None:
            now_s = self._held_from_s  # one that came before the carrier went: it waits with the others
        elif not self.state.up:
            counters.dropped_down += packets
            return False
        waiting_s = self._idle_from_s - now_s
        if waiting_s > 0:
            if waiting_s * self._bytes_s + size_bytes > self._queue_bytes:
                counters.dropped_queue += packets
                return False
            done_s = self._idle_from_s + size_bytes / self._bytes_s
        else:
            done_s = now_s + size_bytes / self._bytes_s
        self._idle_from_s = done_s
        self._append(packet_id, size_bytes, done_s, lost, jitter_share, packets)
        return True

    def release(self, now_s: float) -> list[Verdict]:
        """Release every parcel that is due, with as few verdicts as possible, in order of arrival."""
        verdicts: list[Verdict] = []
        if self._held_from_s is not None:
            return verdicts
        parcels = self._parcels
        while parcels and parcels[0].due_s <= now_s:
            accept = not parcels[0].lost
            packets = size_bytes = last_id = 0
            while parcels and parcels[0].due_s <= now_s and parcels[0].lost is not accept:
                parcel = parcels.popleft()
                last_id = parcel.packet_id
                packets += parcel.packets
                size_bytes += parcel.size_bytes
            verdicts.append(Verdict(accept, last_id, packets, size_bytes))
            if accept:
                self.counters.delivered += packets
                self.counters.delivered_bytes += size_bytes
            else:
                self.counters.lost += packets
        return verdicts

    def set(self, state: LinkState, now_s: float) -> Verdict | None:
        """Adopt a new state; return the verdict that purges the link if it goes down without holding.

        Waiting packets, and the rest of the packet that is being sent, leave at the new rate from now on. A
        packet propagates with the delay at the time when its last bit is sent, and never overtakes an earlier
        one. In a held link no time passes.
        """
        self.state = state
        if not state.up:
            if state.on_contact_end is not OnContactEnd.HOLD:
                return self._purge()
            if self._held_from_s is None:
                self._held_from_s = now_s
            return None
        if self._held_from_s is not None:
            self._resume(now_s)
        old_bytes_s, self._bytes_s = self._bytes_s, state.rate_bit_s / 8
        self._queue_bytes = state.queue_limit_bytes
        waiting: list[Parcel] = []
        while self._parcels and self._parcels[-1].done_s > now_s:
            waiting.append(self._parcels.pop())
        self._last_due_s = self._parcels[-1].due_s if self._parcels else 0.0
        self._idle_from_s = now_s
        for parcel in reversed(waiting):
            left_bytes = float(parcel.size_bytes)
            if parcel is waiting[-1]:
                left_bytes = min(parcel.size_bytes, (parcel.done_s - now_s) * old_bytes_s)
            self._idle_from_s += left_bytes / self._bytes_s
            self._append(
                parcel.packet_id,
                parcel.size_bytes,
                self._idle_from_s,
                parcel.lost,
                parcel.jitter_share,
                parcel.packets,
            )
        return None

    def _append(
        self,
        packet_id: int,
        size_bytes: int,
        done_s: float,
        lost: bool,
        jitter_share: float,
        packets: int,
    ) -> None:
        state = self.state
        due_s = done_s + state.delay_s + jitter_share * state.jitter_s
        self._last_due_s = due_s = max(due_s, self._last_due_s)
        self._parcels.append(Parcel(due_s, done_s, packet_id, size_bytes, lost, jitter_share, packets))

    def _resume(self, now_s: float) -> None:
        """End a hold: every time inside the link moves by the length of the hold."""
        assert self._held_from_s is not None  # noqa: S101 - for mypy
        gap_s, self._held_from_s = now_s - self._held_from_s, None
        self._parcels = deque(
            parcel._replace(due_s=parcel.due_s + gap_s, done_s=parcel.done_s + gap_s)
            for parcel in self._parcels
        )
        self._idle_from_s += gap_s
        self._last_due_s += gap_s

    def _purge(self) -> Verdict | None:
        parcels, self._parcels = self._parcels, deque()
        self._idle_from_s = self._last_due_s = 0.0
        self._held_from_s = None
        if not parcels:
            return None
        packets = sum(parcel.packets for parcel in parcels)
        self.counters.purged += packets
        return Verdict(False, parcels[-1].packet_id, packets, sum(parcel.size_bytes for parcel in parcels))
