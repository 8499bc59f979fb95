"""Where the frames of each satellite are, as the events tell."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from nodes.contract.events import (
    Answered,
    Captured,
    Dropped,
    EventRecord,
    Expired,
    FrameEvent,
    FrameRefused,
    SendStarted,
)

Step = Literal["on board", "in transfer", "by satellite", "by ground", "ended"]
ANSWERED: tuple[Step, Step] = ("by satellite", "by ground")


@dataclass
class SatelliteTally:
    """Frames of a satellite.

    Attributes:
        steps: number of frames by the last step that each has reached.
        on_board_bytes: size of the images that wait on board.
    """

    steps: Counter[Step] = field(default_factory=Counter)
    on_board_bytes: int = 0


class Tally:
    """Counts frames by satellite and by the last step that each has reached.

    Attributes:
        total: number of frames of the scenario.
        satellites: the frames of each satellite that has captured one.
    """

    def __init__(self) -> None:
        self.total = 0
        self.satellites: dict[str, SatelliteTally] = {}
        self._frames: dict[str, tuple[str, int, Step]] = {}  # satellite, size, step

    @property
    def whole(self) -> SatelliteTally:
        """The frames of all satellites."""
        whole = SatelliteTally()
        for own in self.satellites.values():
            whole.steps.update(own.steps)
            whole.on_board_bytes += own.on_board_bytes
        return whole

    def add(self, record: EventRecord) -> None:
        """Count one event."""
        match record.event:
            case Captured() as captured:
                self._frames[captured.frame] = (record.node, captured.size_bytes, "on board")
                own = self.satellites.setdefault(record.node, SatelliteTally())
                own.steps["on board"] += 1
                own.on_board_bytes += captured.size_bytes
            case SendStarted() as sent:
                self._move(sent, "in transfer")
            case Answered() as answered:
                self._move(answered, "by ground" if answered.answered_by == "ground" else "by satellite")
            case Dropped() | Expired() | FrameRefused() as ended:
                self._move(ended, "ended")

    def _move(self, event: FrameEvent, to: Step) -> None:
        if event.frame not in self._frames:
            return
        satellite, size_bytes, step = self._frames[event.frame]
        if step in ANSWERED or step == to:
            return
        own = self.satellites[satellite]
        own.steps[step] -= 1
        own.steps[to] += 1
        if step == "on board":
            own.on_board_bytes -= size_bytes
        self._frames[event.frame] = (satellite, size_bytes, to)
