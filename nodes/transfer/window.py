"""Sizes of a chunk and of the window of unacknowledged bytes."""

from __future__ import annotations

from nodes.transfer.messages import CHUNK_MAX_BYTES

CHUNK_S = 0.1
CHUNK_FLOOR_BYTES = 4 * 1024
QUEUE_S = 0.25
SETTLE_S = 1.0
GROWTH = 1.25
SHRINKING = 0.85  # not faster: BBR pauses every 10 s to look at the round trip, which is no lower rate


def chunk_size_bytes(rate_bit_s: float) -> int:
    """Size of a chunk: 0.1 s of planning rate, in whole KiB, 4 to 256 KiB."""
    wanted_kib = int(rate_bit_s / 8 * CHUNK_S) // 1024
    return max(CHUNK_FLOOR_BYTES, min(CHUNK_MAX_BYTES, wanted_kib * 1024))


class Window:
    """Bytes that may be sent and not yet acknowledged by the ground program.

    Enough to keep the line busy for one round trip plus QUEUE_S, no more: what is in flight is what an
    answer has to wait behind, and what is sent again after a cut. The window starts from the planning rate
    and then follows Little's law: window / latency is the rate that the line gives, and that rate times
    (round trip + QUEUE_S) is the next window.
    """

    def __init__(self, rate_bit_s: float) -> None:
        self.planned_byte_s = rate_bit_s / 8
        self._floor_bytes = 2 * chunk_size_bytes(rate_bit_s)
        self.rtt_s = 0.0
        self.limit_bytes = self.largest_bytes = self._floor_bytes
        self.connected(0.0, 0.0)

    def connected(self, rtt_s: float, now_s: float) -> None:
        """Start again from the planning rate, for a path with this round-trip time."""
        self.rtt_s = rtt_s
        self.limit_bytes = max(self._floor_bytes, int(self.planned_byte_s * (rtt_s + QUEUE_S)))
        # While TCP's own window opens, latency says nothing about the line.
        self._settled_s = now_s + max(SETTLE_S, 6 * rtt_s)
        self._start_epoch()

    @property
    def rate_byte_s(self) -> float:
        """What the line gives, as far as is known."""
        return self.limit_bytes / (self.rtt_s + QUEUE_S)

    def acknowledged(self, size_bytes: int, latency_s: float, was_full: bool, now_s: float) -> None:
        """Learn from one acknowledged message.

        Args:
            size_bytes: its payload.
            latency_s: from handing it to the socket until its acknowledgement.
            was_full: whether the window was full when it was sent.
            now_s: CLOCK_MONOTONIC.
        """
        if now_s < self._settled_s or not was_full:
            return
        self._bytes += size_bytes
        self._latency_sum_s += latency_s
        self._count += 1
        if self._bytes < self.limit_bytes:
            return
        latency_s = self._latency_sum_s / self._count
        factor = (self.rtt_s + QUEUE_S) / max(latency_s, 1e-3)
        self.limit_bytes = max(self._floor_bytes, int(self.limit_bytes * min(max(factor, SHRINKING), GROWTH)))
        self._start_epoch()

    def silence_s(self) -> float:
        """Return the seconds to wait for a reply of the ground before asking again."""
        return max(1.0, 3 * (self.rtt_s + self.limit_bytes / self.planned_byte_s))

    def _start_epoch(self) -> None:
        self._bytes = 0
        self._latency_sum_s = 0.0
        self._count = 0
        self.largest_bytes = max(self.largest_bytes, self.limit_bytes)
