"""When a run ends: after its last contact, once all is answered or nothing more can be."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import cached_property

from nodes.contract.events import Answered, EventRecord
from testbed.results.results import ENDS_WITHOUT_ANSWER
from testbed.results.verdict import Ending
from testbed.scenario.model import Scenario
from traces.trace import Trace

GRACE_AT_LEAST_S = 5.0  # real, of a longer `grace_s` at a high speed
LAST_EVENTS_S = 0.5  # real, after the last contact
ENDS = (Answered, *ENDS_WITHOUT_ANSWER)  # events that end a frame


class RunEnd:
    """Knows which frames and questions wait for their end, and until when the run waits for them.

    Args:
        scenario: the scenario.
        traces: the trace of each link.
    """

    def __init__(self, scenario: Scenario, traces: Mapping[str, Trace]) -> None:
        self._scenario, self._traces = scenario, traces
        self._wanted: set[str | None] = {*scenario.frames(), *scenario.questions()}
        self._done: set[str | None] = set()
        self._give_up_s = math.inf

    @cached_property
    def last_events_s(self) -> float:
        """Scenario time by which the events of the last contact are there."""
        traces = self._traces.values()
        last_s = max((one.los_s for trace in traces for one in trace.contacts()), default=0.0)
        return last_s + LAST_EVENTS_S * self._scenario.speed

    @cached_property
    def grace_s(self) -> float:
        """Time to wait for pending answers after the last trace."""
        grace_s = self._scenario.grace_s
        return max(grace_s, min(grace_s, GRACE_AT_LEAST_S) * self._scenario.speed)

    @cached_property
    def end_s(self) -> float:
        """Scenario time at which the run ends at the latest."""
        return max(trace.end_s for trace in self._traces.values()) + self.grace_s

    @property
    def all_done(self) -> bool:
        """Whether each frame and question has come to its end."""
        return self._wanted <= self._done

    def note(self, records: Iterable[EventRecord], given_up: Iterable[str]) -> None:
        """Take further events, and frames and questions that will have no answer."""
        self._done |= {record.frame for record in records if isinstance(record.event, ENDS)}
        self._done.update(given_up)

    def is_over(self, now_s: float) -> bool:
        """Return whether nothing is left; a run that ended before its last contact would not cover it."""
        return self.all_done and now_s > self.last_events_s

    def without_nodes(self, now_s: float, lost: str | None) -> Ending | None:
        """Return the run's early end, once what is on its way has had the time to arrive.

        Args:
            now_s: scenario time.
            lost: why no further frame can be answered; None if it can.
        """
        if self.all_done or lost is None:
            return None
        self._give_up_s = min(self._give_up_s, now_s + self.grace_s)
        return Ending(lost, 1) if now_s > self._give_up_s else None
