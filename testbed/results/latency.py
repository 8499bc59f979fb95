"""Where the time of each frame went, from the events of the run.

    captured  inference   ends   first byte sent     last byte received  inference  answered
       |--queue--|--on board--|--wait, queue--|--serial., propagation--|--queue--|--ground--|--answer--|

Every stamp is CLOCK_MONOTONIC of the run's machine, so stamps of two programs may be subtracted; a board
tells its own in that clock, and by how much they may be wrong (testbed/results/node_clocks.py).
"Wait for contact" is the part between capture and the last byte in which the satellite had no
connection and nothing else was being done for the frame; the rest of a gap between two steps is queue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

Event = dict[str, Any]
Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Split:
    """Seconds from capture to answer on the ground, by what they were spent on; they sum to the whole."""

    queue_s: float
    onboard_inference_s: float
    wait_for_contact_s: float
    serialisation_s: float
    propagation_s: float
    ground_inference_s: float
    answer_s: float

    @property
    def total_s(self) -> float:
        """Sum of the parts."""
        return float(sum(getattr(self, f.name) for f in fields(self)))


PART_NAMES = tuple(f.name for f in fields(Split))


@dataclass(frozen=True, slots=True)
class FrameResult:
    """What became of one frame. `end_to_end_s` comes from its own two stamps, not from the split.

    `station` is where its image or its answer became whole; `refused` why it never did, or was not answered.
    `form` is how an offloaded frame was sent (the satellite's program knows which there are), `stage` the one
    at which its policy decided. `clock_bound_s` is the most that clocks can have added to or taken from any
    of its times.
    """

    frame: str
    satellite: str
    prompt: str
    truth: str
    kind: str
    capture_s: float
    answer: str | None
    answered_by: str | None
    confidence: float | None
    onboard_answer: str | None
    bytes_sent: int
    end_to_end_s: float | None
    split: Split | None
    refused: str | None = None
    station: str | None = None
    form: str | None = None
    stage: int | None = None
    dropped: bool = False
    clock_bound_s: float = 0.0

    @property
    def correct(self) -> bool:
        """Whether the answer is the truth, but for case and white space."""
        return self.answer is not None and _plain(self.answer) == _plain(self.truth)


def _plain(text: str) -> str:
    return " ".join(text.lower().split()).strip(". ")


def disconnected(events: Iterable[Event], satellite: str, until_s: float) -> list[Interval]:
    """Intervals (CLOCK_MONOTONIC) in which `satellite` had no connection to any ground station.

    `events` are in order of their stamps.
    """
    intervals: list[Interval] = []
    since_s: float | None = 0.0
    station: str | None = None
    for event in events:
        if event.get("node") != satellite:
            continue
        kind = event["event"]
        if kind == "connected":
            station = event.get("station")
        # The first item may be on its way before the broker's answer: then it is the sign of a connection.
        if kind in ("connected", "send_started") and since_s is not None:
            intervals.append((since_s, event["monotonic_s"]))
            since_s = None
        elif since_s is None and (kind == "disconnected" or _contact_lost(event, station)):
            since_s, station = event["monotonic_s"], None
    if since_s is not None:
        intervals.append((since_s, until_s))
    return intervals


def _contact_lost(event: Event, station: str | None) -> bool:
    """Whether it says that the contact with `station` has ended; None is for any."""
    ended = event["event"] == "contact" and not event.get("up", False)
    return ended and (station is None or event.get("station", station) == station)


def station_of(events: Sequence[Event], satellite: str) -> str | None:
    """Where a frame became whole on the ground; None if it never did."""
    received = [e for e in events if e["event"] == "received" and e["node"] != satellite]
    whole = [e for e in received if e.get("what") == _wanted(events)]
    return str(whole[0]["node"]) if whole else None


def _wanted(events: Sequence[Event]) -> str:
    decision = next((e["decision"] for e in events if "decision" in e), None)
    return "image" if decision == "offload" else "answer"


def overlap_s(intervals: Sequence[Interval], begin_s: float, end_s: float) -> float:
    """Seconds of [begin_s, end_s] that lie in any of the (disjoint) intervals."""
    return sum(max(0.0, min(end, end_s) - max(begin, begin_s)) for begin, end in intervals)


def split_frame(
    stamps: dict[str, float], gaps: Sequence[Interval], delay_at: Callable[[float], float]
) -> Split:
    """Divide one frame's time.

    Args:
        stamps: CLOCK_MONOTONIC seconds of captured, onboard_start, onboard_end, sent, received, answered;
            and of ground_start and ground_end for a frame that was answered on the ground.
        gaps: intervals without a connection.
        delay_at: one-way delay of the link at a CLOCK_MONOTONIC second.
    """
    on_air_s = stamps["received"] - stamps["sent"]
    wait_before_s = overlap_s(gaps, stamps["onboard_end"], stamps["sent"])
    wait_within_s = overlap_s(gaps, stamps["sent"], stamps["received"])
    propagation_s = min(delay_at(stamps["received"]), on_air_s - wait_within_s)
    queue_s = (stamps["onboard_start"] - stamps["captured"]) + (
        stamps["sent"] - stamps["onboard_end"] - wait_before_s
    )
    ground_s = 0.0
    ready = stamps["received"]
    if "ground_start" in stamps:
        queue_s += stamps["ground_start"] - stamps["received"]
        ground_s = stamps["ground_end"] - stamps["ground_start"]
        ready = stamps["ground_end"]
    return Split(
        queue_s=queue_s,
        onboard_inference_s=stamps["onboard_end"] - stamps["onboard_start"],
        wait_for_contact_s=wait_before_s + wait_within_s,
        serialisation_s=on_air_s - wait_within_s - propagation_s,
        propagation_s=propagation_s,
        ground_inference_s=ground_s,
        answer_s=stamps["answered"] - ready,
    )


_ENDS = {"onboard_start": "onboard_end", "ground_start": "ground_end"}


def stamps_of(events: Sequence[Event], satellite: str) -> dict[str, float]:
    """The stamp of each step in one frame's events: the first; of inference the start that came to its end.

    A frame may be begun more than once, where a model's server went away meanwhile.
    """
    stamps: dict[str, float] = {}
    wanted = _wanted(events)
    for event in events:
        on_board = event["node"] == satellite
        name = {
            "captured": "captured",
            "inference_started": "onboard_start" if on_board else "ground_start",
            "inference_finished": "onboard_end" if on_board else "ground_end",
            "answered": "answered",
        }.get(event["event"])
        if event["event"] == "send_started" and event["what"] == wanted:
            name = "sent"
        elif event["event"] == "received" and event["what"] == wanted:
            name = "received"
        if name in _ENDS and _ENDS[name] not in stamps:
            stamps[name] = event["monotonic_s"]
        elif name is not None:
            stamps.setdefault(name, event["monotonic_s"])
    return stamps
