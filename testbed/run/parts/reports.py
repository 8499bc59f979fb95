"""What a run reports of itself, and the start of its scenario time."""

from __future__ import annotations

from nodes.contract.events import Event, EventRecord
from nodes.contract.messages import Order
from testbed.mqtt.management import ManagementPlane
from testbed.network.clock import RealClock


class RunReports:
    """Reports the run's own events; before the management plane is there, they go nowhere.

    Attributes:
        plane: the management plane; None before it is there.
    """

    def __init__(self) -> None:
        self.plane: ManagementPlane | None = None
        self._clock: RealClock | None = None

    @property
    def started(self) -> bool:
        """Whether scenario second 0 is set."""
        return self._clock is not None

    @property
    def clock(self) -> RealClock:
        """Scenario time of a run that has started."""
        assert self._clock is not None  # noqa: S101  # `start` came before
        return self._clock

    @property
    def start_monotonic_s(self) -> float:
        """Scenario second 0; 0 before it is set."""
        return 0.0 if self._clock is None else self._clock.start_monotonic_s

    @property
    def now_s(self) -> float | None:
        """Scenario time; None before second 0 is set."""
        return None if self._clock is None else self._clock.now_s()

    @property
    def events(self) -> list[EventRecord]:
        """All events so far."""
        return [] if self.plane is None else self.plane.events

    def start(self, clock: RealClock) -> None:
        """Take the run's clock."""
        self._clock = clock

    def report(self, event: Event, *, monotonic_s: float | None = None) -> None:
        """Report an event, of now if it has no time."""
        if self.plane is not None:
            self.plane.report(event, monotonic_s=monotonic_s)

    def report_now(self, event: Event) -> None:
        """Report an event of now, with its scenario time if there is one yet."""
        if self.plane is not None:
            self.plane.report(event, time_s=self.now_s)

    def report_at(self, event: Event, time_s: float) -> None:
        """Report an event of a scenario time."""
        if self.plane is not None:
            monotonic_s = self.clock.scale.monotonic_of(time_s)
            self.plane.report(event, monotonic_s=monotonic_s, time_s=time_s)

    def hand_over(self, node: str, order: Order) -> None:
        """Give a task to a ground program."""
        if self.plane is not None:
            self.plane.hand_over(node, order)
