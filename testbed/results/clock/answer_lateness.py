"""How much of each answer's latency is lateness of this machine, event by event.

An answer at a profile's pace is late by what this machine took longer than the profile's, and by what the
node was late with the answer before it, as far as this one waited for that. Both are compared with the
latency from capture to answer, since that is what a run claims.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from nodes.contract.events import Answered, Captured, EventRecord, InferenceStarted, Paced, Received


@dataclass(frozen=True, slots=True)
class AnswerLateness:
    """An answered frame; seconds of scenario time.

    Args:
        late_s: how much later it was than on the profiles' machines.
        latency_s: from capture to answer.
    """

    late_s: float
    latency_s: float


class LatenessWatch:
    """Adds up the lateness of each frame until it is answered."""

    def __init__(self) -> None:
        self._captured_s: dict[str, float] = {}
        self._arrived_s: dict[tuple[str, str], float] = {}  # by node and frame
        self._waited_s: dict[tuple[str, str], float] = {}
        self._behind_s: dict[str, float] = {}  # by node, of its latest answer
        self._late_s: dict[str, float] = {}

    def add(self, record: EventRecord, time_s: float) -> AnswerLateness | None:
        """Take the next event, and return the lateness of the frame that it answers.

        Args:
            record: the event.
            time_s: its scenario time.
        """
        event, node, frame = record.event, record.node, record.frame
        if frame is None:
            return None
        place = node, frame
        match event:
            case Captured():
                self._captured_s[frame] = self._arrived_s[place] = time_s
            case Received():
                self._arrived_s[place] = time_s
            case InferenceStarted():
                self._waited_s[place] = time_s - self._arrived_s.pop(place, time_s)
            case Paced():
                inherited_s = min(self._behind_s.get(node, 0.0), max(0.0, self._waited_s.pop(place, 0.0)))
                self._behind_s[node] = late_s = event.late_s + inherited_s
                self._late_s[frame] = self._late_s.get(frame, 0.0) + late_s
            case Answered():
                self._arrived_s.pop(place, None)
                captured_s = self._captured_s.pop(frame, None)
                if frame in self._late_s and captured_s is not None and time_s > captured_s:
                    return AnswerLateness(self._late_s.pop(frame), time_s - captured_s)
            case _:
                pass
        return None


def answer_lateness(records: Iterable[EventRecord]) -> tuple[AnswerLateness, ...]:
    """Return the lateness of each answered frame.

    Args:
        records: the run's events, with stamps of scenario time.
    """
    watch = LatenessWatch()
    in_order = sorted(records, key=lambda record: record.monotonic_s)
    return tuple(one for record in in_order if (one := watch.add(record, record.monotonic_s)) is not None)


def late_share(answers: Iterable[AnswerLateness]) -> float:
    """Return which share of the answers' latencies is lateness; 0 without an answer."""
    answers = list(answers)
    latency_s = sum(one.latency_s for one in answers)
    return sum(one.late_s for one in answers) / latency_s if latency_s > 0 else 0.0
