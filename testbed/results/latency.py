"""Latency of each frame and its parts, from the events of a run.

The parts are those of nodes/contract/latency.py. Every stamp is CLOCK_MONOTONIC of the run's machine, so that
stamps of two programs may be subtracted; a board converts its stamps and bounds the error (nodes/clocks.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nodes.contract.answers import is_right
from nodes.contract.events import (
    Answered,
    Captured,
    Connected,
    ContactChanged,
    Disconnected,
    Event,
    EventRecord,
    InferenceFailed,
    InferenceFinished,
    InferenceStarted,
    ItemKind,
    Received,
    SendFinished,
    SendStarted,
)
from nodes.contract.latency import Latency
from testbed.results.frames.decision import OnboardDecision
from testbed.results.link_time import Interval, LinkTime, overlap_s


@dataclass(frozen=True, slots=True)
class FrameResult:
    """The outcome of one frame.

    Args:
        frame: the frame's name.
        satellite: the satellite that took it.
        prompt: the question.
        truth: the right answer.
        kind: kind of the question.
        capture_s: scenario time of the capture.
        answer: the answer on the ground; None if there is none.
        answered_by: "satellite" or "ground".
        confidence: mean probability of the on-board answer's tokens.
        onboard_answer: the compact model's answer, also where the image was sent.
        bytes_sent: bytes sent for the frame, repeats included.
        end_to_end_s: time from capture to answer, from these two stamps alone.
        latency: the same by its parts.
        refused: why the frame has no answer.
        station: the station where its image or answer became complete.
        form: form in which an offloaded frame was sent; see nodes/onboard/message.py.
        stage: stage at which the policy decided.
        dropped: whether the policy dropped the frame.
        clock_bound_s: largest error that clocks can cause in any of its times.
        failure: the part that failed and its error. The answer is then that of the ground, which gets the
            frame as captured; the frame counts neither as answered nor as right, and has no latency.
        reached: how far a frame without an answer came.
        via: stations and satellites through which its image or answer came to mission control.
        network: version of the confidence network that judged it on board.
        decision: what decided on board, and why.
        also_right: further right answers.
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
    latency: Latency | None
    refused: str | None = None
    station: str | None = None
    form: str | None = None
    stage: int | None = None
    dropped: bool = False
    clock_bound_s: float = 0.0
    failure: str | None = None
    reached: str = "nothing was reported about it"
    via: tuple[str, ...] = ()
    network: str | None = None
    decision: OnboardDecision | None = None
    also_right: tuple[str, ...] = ()

    @property
    def saved_bytes(self) -> int | None:
        """Bytes of the frame as captured that did not come down; None without an answer."""
        captured = None if self.decision is None else self.decision.captured_bytes
        return None if captured is None or not self.answered else captured - self.bytes_sent

    @property
    def answered(self) -> bool:
        """Whether there is an answer on the ground, and nothing failed on the way to it."""
        return self.answer is not None and self.failure is None

    @property
    def correct(self) -> bool:
        """Whether the frame has a right answer, by the rule of nodes/contract/answers/matching.py."""
        return (
            self.answer is not None and self.answered and is_right(self.answer, self.truth, self.also_right)
        )


def disconnected(records: Iterable[EventRecord], satellite: str, until_s: float) -> list[Interval]:
    """Return the intervals (CLOCK_MONOTONIC) in which `satellite` had no connection to any ground station.

    Args:
        records: the run's events in order of their stamps.
        satellite: the satellite's name.
        until_s: end of the last interval if there is no connection at the end.
    """
    intervals: list[Interval] = []
    since_s: float | None = 0.0
    station: str | None = None
    for record in records:
        event = record.event
        if record.node != satellite:
            continue
        if isinstance(event, Connected):
            station = event.station
        # The first item may be on its way before the broker's answer: then it is the sign of a connection.
        if isinstance(event, Connected | SendStarted) and since_s is not None:
            intervals.append((since_s, record.monotonic_s))
            since_s = None
        elif since_s is None and (isinstance(event, Disconnected) or _is_contact_lost(event, station)):
            since_s, station = record.monotonic_s, None
    if since_s is not None:
        intervals.append((since_s, until_s))
    return intervals


def _is_contact_lost(event: Event, station: str | None) -> bool:
    """Return whether the contact with `station` has ended; None stands for any station."""
    return isinstance(event, ContactChanged) and not event.up and station in (None, event.station)


def station_of(records: Sequence[EventRecord], satellite: str) -> str | None:
    """Return the station where a frame's image or answer became complete; None if it never did."""
    wanted = _deciding_item(records)
    for record in records:
        event = record.event
        if isinstance(event, Received) and event.what == wanted and record.node != satellite:
            return record.node
    return None


def outages(records: Iterable[EventRecord]) -> dict[str, str]:
    """Return the reason of the last outage of each node's server; only its first frame is told of one."""
    return {
        record.node: record.event.reason
        for record in records
        if isinstance(record.event, InferenceFailed) and record.event.put_off
    }


def last_step(records: Sequence[EventRecord], satellite: str, outage: str | None = None) -> str:
    """Return how far a frame without an answer came, in words.

    Args:
        records: the frame's events.
        satellite: the satellite that took it.
        outage: why the server of its station's model was unavailable, if it was.
    """
    stamps = stamps_of(records, satellite)
    if outage is not None and "ground_start" in stamps and "ground_end" not in stamps:
        return f"the server of the station's model was unavailable: {outage}"
    steps = {
        "ground_start": "inference on the ground did not end",
        "received": "it reached the ground, and inference there did not start",
        "sent": "it was on its way when the run ended",
        "onboard_end": "it waited to be sent when the run ended",
        "onboard_start": "inference on board did not end",
        "captured": "inference on board did not start",
    }
    return next((text for step, text in steps.items() if step in stamps), "it was not captured")


def sent_bytes(records: Sequence[EventRecord]) -> int:
    """Return the bytes of all payloads of the item that carried a frame's answer, as far as is known."""
    wanted = _deciding_item(records)
    finished = [e for r in records if isinstance(e := r.event, SendFinished) and e.what == wanted]
    started = [e for r in records if isinstance(e := r.event, SendStarted) and e.what == wanted]
    return sum(e.bytes_sent for e in finished) or max((e.size_bytes for e in started), default=0)


def received_cut(records: Sequence[EventRecord]) -> Received | None:
    """Return the event of a message that was answered from its first pieces; None if it came whole."""
    events = (record.event for record in records)
    return next((event for event in events if isinstance(event, Received) and event.is_cut), None)


def _deciding_item(records: Sequence[EventRecord]) -> ItemKind:
    """Return the item on which the frame's answer depends: the image if it was offloaded."""
    decided = (record.event for record in records if isinstance(record.event, InferenceFinished))
    decision = next((event.decision for event in decided if event.decision is not None), None)
    return "image" if decision == "offload" else "answer"


def frame_latency(
    stamps: dict[str, float], gaps: Sequence[Interval], link: LinkTime, size_bytes: int
) -> Latency:
    """Return the parts of one frame's time.

    Args:
        stamps: CLOCK_MONOTONIC seconds of captured, onboard_start, onboard_end, sent, received, answered;
            and of ground_start and ground_end for a frame that was answered on the ground.
        gaps: intervals without a connection.
        link: the link on which the last byte came.
        size_bytes: bytes of all payloads that were sent for the frame's item, repeats included.
    """
    on_air_s = stamps["received"] - stamps["sent"]
    wait_before_s = overlap_s(gaps, stamps["onboard_end"], stamps["sent"])
    wait_within_s = overlap_s(gaps, stamps["sent"], stamps["received"])
    propagation_s = min(link.delay_s(stamps["received"]), on_air_s - wait_within_s)
    left_s = on_air_s - wait_within_s - propagation_s
    arrived_s = stamps["received"] - propagation_s
    serialisation_s = min(left_s, link.serialisation_s(size_bytes, stamps["sent"], arrived_s, gaps))
    queue_s = (stamps["onboard_start"] - stamps["captured"]) + (
        stamps["sent"] - stamps["onboard_end"] - wait_before_s
    )
    ground_s = 0.0
    ready = stamps["received"]
    if "ground_start" in stamps:
        queue_s += stamps["ground_start"] - stamps["received"]
        ground_s = stamps["ground_end"] - stamps["ground_start"]
        ready = stamps["ground_end"]
    return Latency(
        queue_s=queue_s,
        onboard_inference_s=stamps["onboard_end"] - stamps["onboard_start"],
        contact_wait_s=wait_before_s + wait_within_s,
        link_queue_s=left_s - serialisation_s,
        serialisation_s=serialisation_s,
        propagation_s=propagation_s,
        ground_inference_s=ground_s,
        reporting_s=stamps["answered"] - ready,
    )


_ENDS = {"onboard_start": "onboard_end", "ground_start": "ground_end"}


def stamps_of(records: Sequence[EventRecord], satellite: str) -> dict[str, float]:
    """Return the stamp of each step of one frame: the first, and of inference the start that was finished.

    A frame may be begun more than once, where a model's server was unavailable.
    """
    stamps: dict[str, float] = {}
    wanted = _deciding_item(records)
    for record in records:
        name = _step(record, satellite, wanted)
        if name in _ENDS and _ENDS[name] not in stamps:
            stamps[name] = record.monotonic_s
        elif name is not None:
            stamps.setdefault(name, record.monotonic_s)
    return stamps


def _step(record: EventRecord, satellite: str, wanted: ItemKind) -> str | None:
    place = "onboard" if record.node == satellite else "ground"
    match record.event:
        case Captured():
            return "captured"
        case InferenceStarted():
            return f"{place}_start"
        case InferenceFinished():
            return f"{place}_end"
        case SendStarted(what=what) if what == wanted:
            return "sent"
        case Received(what=what) if what == wanted:
            return "received"
        case Answered():
            return "answered"
        case _:
            return None
