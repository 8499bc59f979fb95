"""What a run found out: per frame, in total, and how far it may be believed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean
from typing import Any

from testbed.measure.fidelity import LinkFidelity
from testbed.mqtt.broker_watch import BrokerRecord
from testbed.results.board_record import BoardRecord
from testbed.results.latency import (
    PART_NAMES,
    Event,
    FrameResult,
    disconnected,
    split_frame,
    stamps_of,
    station_of,
)
from testbed.results.node_clocks import NodeClock, clock_bound_s
from testbed.results.node_pace import NodePace
from testbed.scenario.model import Frame, Satellite, Scenario

_WHOLE_STEPS = {"captured", "onboard_start", "onboard_end", "sent", "received", "answered"}

_ENDS_WITHOUT_ANSWER = ("refused", "expired", "dropped", "send_refused")

STAND_IN_NOTE = (
    "The shipped models are a small stand-in pair trained by this project; "
    "their accuracy says nothing about 2B or 7B models."
)


def wilson_interval(right: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """95 % confidence interval of a proportion (Wilson 1927); (0, 1) for n = 0."""
    if n == 0:
        return 0.0, 1.0
    p = right / n
    centre = p + z * z / (2 * n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, (centre - half) / (1 + z * z / n)), min(1.0, (centre + half) / (1 + z * z / n))


@dataclass(frozen=True)
class Results:
    """All figures of a run, for the table, the report and results.json.

    `malformed` counts the payloads that were refused, by the node that did so and the sender.
    """

    scenario: str
    shaper: str
    frames: tuple[FrameResult, ...]
    links: tuple[LinkFidelity, ...]
    link_error_bound_s: float
    lost_events: int = 0
    brokers: tuple[BrokerRecord, ...] = ()
    malformed: Mapping[str, int] = field(default_factory=dict)
    clocks: tuple[NodeClock, ...] = ()
    boards: tuple[BoardRecord, ...] = ()
    paces: tuple[NodePace, ...] = ()

    @property
    def answered(self) -> int:
        """Frames with an answer on the ground."""
        return sum(f.answer is not None for f in self.frames)

    @property
    def correct(self) -> int:
        """Frames whose answer is right."""
        return sum(f.correct for f in self.frames)

    @property
    def dropped(self) -> int:
        """Frames that a policy dropped: no answer was wanted."""
        return sum(f.dropped for f in self.frames)

    @property
    def all_answered(self) -> bool:
        """Whether no frame is left but those that a policy dropped."""
        return self.answered + self.dropped == len(self.frames)

    def warnings(self) -> list[str]:
        """What a reader must know before any number: a link beyond its bound, frames without an answer."""
        found = []
        for link in self.links:
            error_s = link.rtt_error_s(50)
            if error_s is None:
                found.append(f"link {link.link} was not measured: its figures rest on what was asked")
            elif error_s > self.link_error_bound_s:
                found.append(
                    f"link {link.link} missed its bound: median RTT error {error_s * 1e3:.2f} ms, "
                    f"bound {self.link_error_bound_s * 1e3:.3g} ms"
                )
        found += [warning for broker in self.brokers if (warning := broker.warning())]
        found += [f"{who}: {count} malformed payloads" for who, count in self.malformed.items()]
        found += [warning for clock in self.clocks if (warning := clock.warning())]
        found += [warning for board in self.boards for warning in board.warnings()]
        found += [warning for pace in self.paces if (warning := pace.warning())]
        if self.lost_events:
            found.append(f"{self.lost_events} events of nodes never came: a broker may have died with them")
        if not self.all_answered:
            left = len(self.frames) - self.answered - self.dropped
            found.append(f"{left} of {len(self.frames)} frames have no answer")
        return found

    def totals(self) -> dict[str, Any]:
        """Accuracy with its interval, means of the split, bytes."""
        done = [f for f in self.frames if f.split is not None and f.end_to_end_s is not None]
        low, high = wilson_interval(self.correct, len(self.frames))
        return {
            "frames": len(self.frames),
            "answered": self.answered,
            "answered_on_board": sum(f.answered_by == "satellite" for f in self.frames),
            "answered_on_ground": sum(f.answered_by == "ground" for f in self.frames),
            "dropped": self.dropped,
            "correct": self.correct,
            "accuracy": self.correct / len(self.frames),
            "accuracy_95": [low, high],
            "bytes_sent": sum(f.bytes_sent for f in self.frames),
            "mean_end_to_end_s": fmean(f.end_to_end_s or 0.0 for f in done) if done else None,
            "mean_split_s": {n: fmean(getattr(f.split, n) for f in done) for n in PART_NAMES} if done else {},
        }

    def to_json(self) -> dict[str, Any]:
        """Everything but the probes' samples, which are in fidelity.json."""
        return {
            "scenario": self.scenario,
            "shaper": self.shaper,
            "warnings": self.warnings(),
            "note": STAND_IN_NOTE,
            "totals": self.totals(),
            "links": [link.summary() for link in self.links],
            "brokers": [asdict(broker) for broker in self.brokers],
            "malformed": dict(self.malformed),
            "clocks": [asdict(clock) for clock in self.clocks],
            "boards": [board.to_json() for board in self.boards],
            "paces": [asdict(pace) for pace in self.paces],
            "lost_events": self.lost_events,
            "frames": [{**asdict(f), "correct": f.correct} for f in self.frames],
        }


def frame_results(
    scenario: Scenario,
    events: Sequence[Event],
    start_monotonic_s: float,
    delays: Mapping[tuple[str, str], Callable[[float], float]],
) -> tuple[FrameResult, ...]:
    """One result for every frame of the scenario, also for those that nothing became of.

    Args:
        delays: per (satellite, station), the one-way delay of their link at a CLOCK_MONOTONIC second.
    """
    events = sorted(events, key=lambda e: e.get("monotonic_s", 0.0))  # they arrive in another order
    by_frame: dict[str, list[Event]] = {name: [] for name in scenario.frames()}
    for event in events:
        if event.get("frame") in by_frame:
            by_frame[event["frame"]].append(event)
    last_s = max((e["monotonic_s"] for e in events if "monotonic_s" in e), default=start_monotonic_s)
    results = []
    for satellite in scenario.satellites:
        gaps = disconnected(events, satellite.name, last_s)
        for frame in satellite.frames:
            own = by_frame[frame.frame]
            stamps = stamps_of(own, satellite.name)
            station = station_of(own, satellite.name)
            split = None
            if station is not None and stamps.keys() >= _WHOLE_STEPS:
                split = split_frame(stamps, gaps, delays[satellite.name, station])
            whole_s = stamps["answered"] - stamps["captured"] if split else None
            results.append(
                _frame_result(
                    satellite,
                    frame,
                    own,
                    start_monotonic_s,
                    split=split,
                    end_to_end_s=whole_s,
                    station=station,
                )
            )
    return tuple(results)


def _frame_result(
    satellite: Satellite, frame: Frame, events: Sequence[Event], start_monotonic_s: float, **timing: Any
) -> FrameResult:
    answered = _first(events, "answered")
    on_board = next(
        (e for e in events if e["event"] == "inference_finished" and e["node"] == satellite.name), {}
    )
    captured = _first(events, "captured")
    return FrameResult(
        frame=frame.frame,
        satellite=satellite.name,
        prompt=frame.prompt,
        truth=frame.truth,
        kind=frame.kind,
        capture_s=captured.get("monotonic_s", start_monotonic_s + frame.capture_s) - start_monotonic_s,
        answer=answered.get("answer"),
        answered_by=answered.get("answered_by"),
        confidence=on_board.get("confidence"),
        onboard_answer=on_board.get("answer"),
        bytes_sent=sum(e.get("bytes_sent", 0) for e in events if e["event"] == "send_finished"),
        refused=next((e.get("reason") for e in events if e["event"] in _ENDS_WITHOUT_ANSWER), None),
        form=on_board.get("form"),
        stage=on_board.get("stage"),
        dropped=on_board.get("decision") == "drop",
        clock_bound_s=clock_bound_s(events),
        **timing,
    )


def _first(events: Sequence[Event], kind: str) -> Event:
    return next((e for e in events if e["event"] == kind), {})


def lost_events(events: Sequence[Event]) -> int:
    """Events that nodes numbered and that never came; a node that was started again counts from 1 again.

    `events` are in order of arrival, which within a node is that of their numbers.
    """
    lost = 0
    last: dict[str, int] = {}
    for event in events:
        number, node = event.get("sequence"), str(event.get("node"))
        if not isinstance(number, int):
            continue
        before = 0 if number == 1 else last.get(node, 0)
        lost += max(0, number - before - 1)
        last[node] = number if number == 1 else max(number, before)
    return lost


def malformed_counts(events: Sequence[Event]) -> dict[str, int]:
    """Payloads that were refused, by "node, from sender"; each event says how many so far."""
    counts: dict[str, int] = {}
    for event in events:
        if event["event"] == "malformed":
            who = f"{event.get('node')}, from {event.get('sender', 'nobody known')}"
            counts[who] = max(counts.get(who, 0), int(event.get("count", 1)))
    return counts


def busy_intervals(events: Sequence[Event], satellite: str) -> list[tuple[float, float]]:
    """CLOCK_MONOTONIC intervals in which `satellite` had an image or an answer on the link."""
    events = sorted(events, key=lambda e: e.get("monotonic_s", 0.0))
    intervals: list[tuple[float, float]] = []
    open_since: dict[tuple[str, str], float] = {}
    for event in events:
        key = (str(event.get("frame")), str(event.get("what")))
        if event.get("node") == satellite and event["event"] == "send_started":
            open_since.setdefault(key, event["monotonic_s"])
        elif event["event"] in ("delivered", "received") and key in open_since:
            # A little more: acknowledgements are still on their way after the last byte has come.
            intervals.append((open_since.pop(key), event["monotonic_s"] + 0.1))
    intervals.extend((begin, math.inf) for begin in open_since.values())
    return intervals
