"""The faults of a run, and the frames that they hit."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from nodes.contract.events import Answered, Captured, EventRecord, FaultBegan, FaultEnded, InferenceFinished
from testbed.results.latency import FrameResult
from testbed.scenario.faults import BitFlips, links_hit
from testbed.scenario.model import Scenario

NAMED_MAX = 12  # frames in a line


@dataclass(frozen=True)
class FaultRecord:
    """A fault of a run.

    Attributes:
        what: Its kind.
        target: What it hit.
        at_s: When it began, in scenario time.
        until_s: When it ended; None if it lasted to the end of the run.
        effect: What it did.
        frames: Frames that it hit: of flipped bits, those that the damaged model looked at; of a lost
            satellite, those that it did not capture, too; else those that were on their way.
        unanswered: Those of them without an answer.
    """

    what: str
    target: str
    at_s: float
    until_s: float | None
    effect: str
    frames: tuple[str, ...] = ()
    unanswered: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The fault in words, with its times."""
        end = "on" if self.until_s is None else f"to {self.until_s:.1f} s"
        return f"{self.what}: {self.target}, from {self.at_s:.1f} s {end}"

    def line(self) -> str:
        """Return one line for the table."""
        named = ", ".join(self.frames[:NAMED_MAX])
        more = f" and {len(self.frames) - NAMED_MAX} more" if len(self.frames) > NAMED_MAX else ""
        hit = f"it hit {len(self.frames)} frames ({named}{more})" if self.frames else "it hit no frame"
        lost = f", {len(self.unanswered)} of which have no answer" if self.unanswered else ""
        return f"fault: {self.name}: {self.effect}; {hit}{lost}"


def fault_records(
    scenario: Scenario,
    records: Iterable[EventRecord],
    frames: Sequence[FrameResult],
    start_monotonic_s: float,
) -> tuple[FaultRecord, ...]:
    """Return the faults that a run's events tell of, in order of time.

    Args:
        scenario: the scenario.
        records: the run's events, with stamps in scenario time.
        frames: the results of its frames.
        start_monotonic_s: scenario second 0 as a stamp.
    """
    found: dict[int, FaultRecord] = {}
    looked: list[tuple[str, str, float]] = []
    captured: set[str] = set()
    answered_s: dict[str, float] = {}
    for record in records:
        event = record.event
        if isinstance(event, FaultBegan):
            at_s = record.time_s or 0.0
            found[event.fault] = FaultRecord(event.what, event.target, at_s, None, event.effect)
        elif isinstance(event, FaultEnded) and event.fault in found:
            found[event.fault] = replace(found[event.fault], until_s=record.time_s)
        elif isinstance(event, Captured):
            captured.add(event.frame)
        elif isinstance(event, Answered):
            answered_s.setdefault(event.frame, record.monotonic_s - start_monotonic_s)
        elif isinstance(event, InferenceFinished):
            looked.append((record.node, event.frame, record.monotonic_s - start_monotonic_s))
    complete = []
    for number, fault in sorted(found.items()):
        # What a lost satellite did not capture, nothing else can hit.
        taken = [f for f in frames if f.frame in captured or fault.what == "satellite lost"]
        hit = _hit(scenario, number, fault, taken, looked, answered_s)
        unanswered = tuple(name for name in hit if name not in answered_s)
        complete.append(replace(fault, frames=hit, unanswered=unanswered))
    return tuple(sorted(complete, key=lambda fault: fault.at_s))


def _hit(
    scenario: Scenario,
    number: int,
    record: FaultRecord,
    frames: Sequence[FrameResult],
    looked: Sequence[tuple[str, str, float]],
    answered_s: Mapping[str, float],
) -> tuple[str, ...]:
    fault = scenario.faults[number - 1]
    from_s, until_s = fault.span if record.until_s is None else (record.at_s, record.until_s)
    if isinstance(fault, BitFlips):
        return tuple(
            frame for node, frame, time_s in looked if node == fault.target and from_s <= time_s < until_s
        )
    satellites = _concerned(scenario, set(links_hit(scenario, fault)))
    hit = []
    for frame in frames:
        if frame.satellite not in satellites:
            continue
        if frame.capture_s < until_s and answered_s.get(frame.frame, math.inf) > from_s:
            hit.append(frame.frame)
    return tuple(hit)


def _concerned(scenario: Scenario, links: set[str]) -> set[str]:
    """Return the satellites whose frames some links may carry.

    A link on the ground carries those of all satellites that its station sees.
    """
    ends = {end for link in scenario.network_links if link.name in links for end in link.ends}
    stations = {link.station for link in scenario.earth_links if link.name in links}
    seen = {link.satellite for link in scenario.links if link.station in stations}
    return seen | (ends & {satellite.name for satellite in scenario.satellites})


def explained(frames: Sequence[FrameResult], faults: Sequence[FaultRecord]) -> tuple[FrameResult, ...]:
    """Return the frames; those without an answer name the faults of links that hit them as a reason."""
    told = []
    for frame in frames:
        names = [
            fault.name
            for fault in faults
            if frame.frame in fault.unanswered and fault.what in ("link cut", "rate degraded", "station down")
        ]
        reached = "; ".join([*names, frame.reached])
        told.append(replace(frame, reached=reached) if names and frame.answer is None else frame)
    return tuple(told)
