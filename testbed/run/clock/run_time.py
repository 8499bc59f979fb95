"""Changes of a run's scenario time: made to its clock and its nodes at one moment, and reported."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from nodes.clocks.timescale import Piece
from nodes.contract.events import Event, SpeedChanged, TimeJumped
from testbed.mqtt.management import ManagementPlane
from testbed.network.clock import RealClock
from testbed.network.player import Player

LEAD_S = 0.005  # from the decision until it is in force, in which the nodes hear of it
LANDING_S = 0.02  # before the event that a jump leads to, so that all wait for it when it comes
OTHER_MACHINES_S = 0.1  # the same two where a node is on another machine


class RunTime:
    """Makes jumps and changes of speed, one at a time; from any thread.

    Args:
        clock: of the run.
        player: has to set its links again when the speed changes.
        plane: tells the nodes.
        other_machines: whether nodes on other machines hear of changes over a network.

    Attributes:
        clock_bound_s: largest error of a node's clock; a jump lands so much earlier.
    """

    def __init__(
        self, clock: RealClock, player: Player, plane: ManagementPlane, *, other_machines: bool = False
    ) -> None:
        self.clock = clock
        self.clock_bound_s = 0.0
        self._landing_s = OTHER_MACHINES_S if other_machines else LANDING_S
        self._player = player
        self._plane = plane
        self._lead_s = OTHER_MACHINES_S if other_machines else LEAD_S
        self._changing = threading.Lock()

    @property
    def landing_s(self) -> float:
        """How long before its event a jump lands, in real seconds."""
        return self._landing_s + self.clock_bound_s

    def jump(self, to_s: float) -> int:
        """Jump to shortly before a scenario time; return how often scenario time has changed by then."""

        def piece(moment_s: float, time_s: float) -> Piece:
            speed = self.clock.speed
            return Piece(moment_s, max(time_s, to_s - self.landing_s * speed), speed)

        return self._change(piece, lambda from_s, new: TimeJumped(from_s=from_s, to_s=new.time_s))

    def run_at(self, speed: float, reason: str) -> None:
        """Go on at another speed.

        Args:
            speed: seconds of scenario time in a real one.
            reason: as the event gives it.
        """
        before = self.clock.speed
        self._change(
            lambda moment_s, time_s: Piece(moment_s, time_s, speed),
            lambda _, new: SpeedChanged(speed=new.speed, before=before, reason=reason),
        )
        self._player.follow_speed()

    def _change(self, make: Callable[[float, float], Piece], event: Callable[[float, Piece], Event]) -> int:
        with self._changing:
            scale = self.clock.scale
            moment_s = max(time.monotonic() + self._lead_s, scale.pieces[-1].monotonic_s)
            time_s = scale.at(moment_s)
            piece = make(moment_s, time_s)
            scale = self.clock.change(piece)
            self._plane.retime_nodes(scale)
            self._plane.report(event(time_s, piece), monotonic_s=moment_s, time_s=piece.time_s)
            return len(scale.pieces) - 1
