"""Sizes of chunks and of the window of unacknowledged bytes."""

from __future__ import annotations

from nodes.transfer.messages import CHUNK_MAX_BYTES

CHUNK_S = 0.1
CHUNK_FLOOR_BYTES = 4 * 1024
QUEUE_S = 0.25
SETTLE_S = 1.0
GROWTH = 1.25
SHRINKING = 0.85  # bounded, since BBR pauses every 10 s to measure the round trip at the same rate


def chunk_size_bytes(rate_bit_s: float) -> int:
    """Return the size of a chunk: 0.1 s at the planning rate, in whole KiB, 4 to 256 KiB."""
    target_kib = int(rate_bit_s / 8 * CHUNK_S) // 1024
    return max(CHUNK_FLOOR_BYTES, min(CHUNK_MAX_BYTES, target_kib * 1024))


class Window:
    """Limit of the bytes that are sent but not acknowledged by the ground program.

    The window keeps the link busy for one round trip plus QUEUE_S. A larger one would do harm: an answer
    waits behind the bytes in flight, and a cut makes them be sent again. The window starts from the planning
    rate and then follows Little's law: window / latency is the rate of the link, and this rate times
    (round trip + QUEUE_S) is the next window.

    Where scenario time runs faster, the link is that much faster too, and the window has the same bytes: what
    it is told and tells is of real seconds, and its own constants are seconds of scenario time.

    Args:
        rate_bit_s: planning rate, bits in a second of scenario time.
    """

    def __init__(self, rate_bit_s: float) -> None:
        self.speed = 1.0
        self._planned_byte_s = rate_bit_s / 8
        self._floor_bytes = 2 * chunk_size_bytes(rate_bit_s)
        self.rtt_s = 0.0
        self.limit_bytes = self.largest_bytes = self._floor_bytes
        self.connected(0.0, 0.0)

    def connected(self, rtt_s: float, now_s: float) -> None:
        """Restart from the planning rate for a path with this round-trip time."""
        self.rtt_s = rtt_s
        self.limit_bytes = max(self._floor_bytes, int(self.planned_byte_s * self._full_s))
        # While TCP's own window grows, latency does not show the rate of the link.
        self._settled_s = now_s + max(SETTLE_S / self.speed, 6 * rtt_s)
        self._start_epoch()

    @property
    def planned_byte_s(self) -> float:
        """Planning rate, bytes in a real second."""
        return self._planned_byte_s * self.speed

    @property
    def rate_byte_s(self) -> float:
        """Estimated rate of the link, bytes in a real second."""
        return self.limit_bytes / self._full_s

    @property
    def _full_s(self) -> float:
        """How long the window keeps the link busy, real seconds."""
        return self.rtt_s + QUEUE_S / self.speed

    def acknowledged(self, size_bytes: int, latency_s: float, was_full: bool, now_s: float) -> None:
        """Adapt the window to one acknowledged message.

        Args:
            size_bytes: size of the payload.
            latency_s: time between sending and acknowledgement.
            was_full: whether the window was full when the message was sent.
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
        factor = self._full_s / max(latency_s, 1e-3 / self.speed)
        self.limit_bytes = max(self._floor_bytes, int(self.limit_bytes * min(max(factor, SHRINKING), GROWTH)))
        self._start_epoch()

    def silence_s(self) -> float:
        """Return the real seconds to wait for a reply of the ground before repeating the query."""
        return max(1.0, 3 * (self.rtt_s + self.limit_bytes / self.planned_byte_s))

    def _start_epoch(self) -> None:
        self._bytes = 0
        self._latency_sum_s = 0.0
        self._count = 0
        self.largest_bytes = max(self.largest_bytes, self.limit_bytes)
