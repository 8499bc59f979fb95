"""How exactly contacts begin and end, for `spaceverse verify`."""

from __future__ import annotations

import math
import time

import numpy as np
import numpy.typing as npt

from testbed.network.link_state import DOWN_STATE, LinkState
from testbed.verify.checks import FULL_FRAME_BYTES, Bounds, Check, at_most_check, none_check
from testbed.verify.link import MeasuredLink, required_stream


def measure_contacts(link: MeasuredLink, contacts: int, bounds: Bounds) -> list[Check]:
    """Play contacts of 0.3 s on an overloaded link, so that packets are inside when each of them ends."""
    state = LinkState(True, 20e6, 0.005, queue_bytes=200_000)
    edges = _Edges(link, state, contacts)
    link.set(DOWN_STATE, DOWN_STATE)
    # 1.2 times the rate: there is always something that could leak after the end.
    frame_bytes = FULL_FRAME_BYTES
    stream = {"interval_s": frame_bytes * 8 / 24e6, "frame_bytes": frame_bytes}
    probed = link.probe(edges.play, for_s=0.6 * contacts + 0.3, drain_s=0.3, real_time=False, down=stream)
    arrived_ns = required_stream(probed.down).arrived_ns
    after, first_s, last_s = edges.judge(arrived_ns)
    most_s, last_most_s = bounds.first_packet_s, bounds.last_packet_s
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
        """Return packets after LOS; per contact, seconds from AOS to the first and from LOS to the last."""
        after, first_s, last_s = 0, [], []
        for aos_ns, los_ns, down_ns in zip(self.aos_ns, self.los_ns, self.down_ns, strict=True):
            own = arrived_ns[(arrived_ns >= aos_ns) & (arrived_ns < aos_ns + 600_000_000)]
            after += int(np.sum(own > down_ns))
            first_s.append((own[0] - aos_ns) / 1e9 if len(own) else math.nan)
            last_s.append((own[-1] - los_ns) / 1e9 if len(own) else math.nan)
        return after, first_s, last_s
