"""Event model of one policy over one link: board, downlink and ground, frame by frame.

The board computes one frame at a time in the order of capture, the ground likewise in the order of arrival.
Decisions are the policy's own, asked through `nodes.policies.decide_frame` with the link as it is at that
moment of the replay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Protocol

from nodes.contract.latency import Latency
from nodes.contract.queueing import completion_times_s
from nodes.lab.evaluation.event_model.downlink import Downlink, Item
from nodes.onboard.link_forecast import LinkForecast
from nodes.onboard.policy_inputs import surroundings
from nodes.policies import (
    Accept,
    Contact,
    Decision,
    Drop,
    Foresight,
    FramePolicy,
    OnboardRun,
    Queue,
    Reading,
    SendRegions,
    decide_frame,
)

ANSWER_BYTES = 40  # msgpack of an answer's text and confidence


@dataclass(frozen=True)
class Sent:
    """What goes down for a frame, and what the ground makes of it."""

    size_bytes: int
    prepare_s: float
    answer: str
    right: bool
    ground_s: float


class Subject(Protocol):
    """A frame-prompt pair with its outcomes."""

    @property
    def name(self) -> str:
        """Unique among the pairs."""

    @property
    def prompt(self) -> str:
        """What is asked."""

    @property
    def whole_bytes(self) -> int:
        """The frame as captured."""

    def run(self, spend: Callable[[float], None]) -> OnboardRun:
        """The compact model on this pair; each stage's seconds are given to `spend`."""

    def attention_s(self, reading: Reading) -> float:
        """Seconds until attention is known, from this stage on."""

    def right_on_board(self) -> bool:
        """Whether the compact model is right."""

    def sent(self, decision: Decision) -> Sent:
        """What this decision sends, and its answer."""


@dataclass
class Played:
    """What became of one pair; times in scenario seconds, None where it never came to that."""

    pair: str
    capture_s: float
    deadline_s: float
    pass_end_s: float
    link: str = ""
    trace_end_s: float = 0.0
    decision: str = ""
    stage: int = -1
    answered_by: str | None = None
    answer: str = ""
    right: bool = False
    bytes_down: int = 0
    onboard_inference_s: float = 0.0
    received_s: float | None = None  # whole, on the ground
    answered_s: float | None = None
    latency: Latency | None = None

    @property
    def timely(self) -> bool:
        """Right, and on the ground before the deadline."""
        return self.right and self.answered_s is not None and self.answered_s <= self.deadline_s


@dataclass(frozen=True)
class _Way:
    start_s: float
    decided_s: float
    sent: Sent | None
    item: Item | None


def replay(
    policy: FramePolicy,
    subjects: Sequence[tuple[float, Subject]],
    line: LinkForecast,
    *,
    answer_within_s: float = 600.0,
    pass_on_s: float = 0.0,
    with_foresight: bool = False,
) -> list[Played]:
    """Play frames, given with their capture times, over a line.

    A frame's deadline is the end of the first contact that is there or comes after its capture, or
    `answer_within_s` after its capture, whichever is earlier. The ground station tells on-board answers one
    after the other, each in `pass_on_s`.
    """
    board = _Board(policy, line, [time_s for time_s, _ in subjects], with_foresight)
    played: list[Played] = []
    ways: list[_Way] = []
    for capture_s, subject in sorted(subjects, key=lambda pair: pair[0]):
        contact = line.contact_after(capture_s)
        pass_end_s = contact[1] if contact else line.end_s
        row = Played(subject.name, capture_s, min(pass_end_s, capture_s + answer_within_s), pass_end_s)
        ways.append(board.take(capture_s, subject, row))
        played.append(row)
    board.downlink.advance(line.end_s)
    _answer_on_ground(list(zip(played, ways, strict=True)), pass_on_s)
    return played


class _Board:
    """The satellite: one computer, one outbox."""

    def __init__(
        self, policy: FramePolicy, line: LinkForecast, captures_s: Sequence[float], with_foresight: bool
    ) -> None:
        self._policy = policy
        self._line = line
        self._captures_s = sorted(captures_s)
        self._with_foresight = with_foresight
        rates = [line.row_at(t).down_bit_s for contact in line.contacts for t in _seconds(contact)]
        self.downlink = Downlink(line, median(rates) if rates else 1e6)
        self._free_s = 0.0

    def take(self, capture_s: float, subject: Subject, row: Played) -> _Way:
        """Decide on one frame and put what goes down into the outbox; fills in `row`."""
        start_s = max(capture_s, self._free_s)
        clock = _Spent(start_s)
        foresight = None
        if self._with_foresight:
            foresight = Foresight(subject.right_on_board(), lambda decision: subject.sent(decision).right)
        decision, reading = decide_frame(
            self._policy,
            subject.run(clock.spend),
            subject.prompt,
            subject.whole_bytes,
            lambda: self._surroundings(clock.now_s, capture_s),
            foresight,
        )
        row.decision, row.stage = type(decision).__name__, reading.stage
        sent, item = None, None
        if isinstance(decision, Accept):
            row.answered_by, row.answer, row.right = "satellite", reading.answer, subject.right_on_board()
            item = self.downlink.add(subject.name, "answer", ANSWER_BYTES, clock.now_s)
        elif not isinstance(decision, Drop):
            sent = subject.sent(decision)
            if isinstance(decision, SendRegions):
                clock.spend(subject.attention_s(reading))
            clock.spend(sent.prepare_s)
            row.answered_by, row.answer, row.right = "ground", sent.answer, sent.right
            item = self.downlink.add(subject.name, "image", sent.size_bytes, clock.now_s)
        self._free_s = clock.now_s
        row.onboard_inference_s = clock.now_s - start_s
        return _Way(start_s, clock.now_s, sent, item)

    def _surroundings(self, now_s: float, capture_s: float) -> tuple[Contact, Queue]:
        self.downlink.advance(now_s)
        return surroundings([self._line], now_s, capture_s, self._captures_s, self.downlink.waiting)


class _Spent:
    """A frame's own clock on the board."""

    def __init__(self, start_s: float) -> None:
        self.now_s = start_s

    def spend(self, seconds_s: float) -> None:
        self.now_s += seconds_s


def _seconds(contact: tuple[float, float]) -> list[float]:
    steps = max(1, int(contact[1] - contact[0]))
    return [contact[0] + (contact[1] - contact[0]) * (index + 0.5) / steps for index in range(steps)]


def _answer_on_ground(frames: Sequence[tuple[Played, _Way]], pass_on_s: float) -> None:
    """Serve what has arrived, and divide each frame's time."""
    arrived = [(way.item.received_s, row, way) for row, way in frames if way.item and way.item.received_s]
    for received_s, row, _ in arrived:
        row.received_s = received_s
    answers = [(received_s, row, way) for received_s, row, way in arrived if way.sent is None]
    told_s = completion_times_s([(received_s, pass_on_s) for received_s, _, _ in answers])
    for (received_s, row, way), answered_s in zip(answers, told_s, strict=True):
        row.answered_s = answered_s
        row.latency = _latency(row, way, 0.0, 0.0, answered_s - received_s)
    works = [(received_s, row, way, way.sent.ground_s) for received_s, row, way in arrived if way.sent]
    done_s = completion_times_s([(received_s, ground_s) for received_s, _, _, ground_s in works])
    for (received_s, row, way, ground_s), answered_s in zip(works, done_s, strict=True):
        row.answered_s = answered_s
        row.latency = _latency(row, way, answered_s - ground_s - received_s, ground_s, 0.0)
    for row, way in frames:
        row.bytes_down = way.item.bytes_sent if way.item else 0


def _latency(
    row: Played, way: _Way, ground_queue_s: float, ground_inference_s: float, reporting_s: float
) -> Latency | None:
    item = way.item
    if item is None or item.first_s is None or item.received_s is None:
        return None
    before_s = way.start_s - row.capture_s + item.first_s - way.decided_s - item.wait_before_s
    return Latency(
        queue_s=before_s + ground_queue_s,
        onboard_inference_s=row.onboard_inference_s,
        contact_wait_s=item.wait_before_s + item.wait_s,
        serialisation_s=item.received_s - item.first_s - item.wait_s - item.delay_s,
        propagation_s=item.delay_s,
        ground_inference_s=ground_inference_s,
        reporting_s=reporting_s,
    )
