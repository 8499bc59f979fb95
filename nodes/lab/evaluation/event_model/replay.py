"""Event model of one policy: satellites with a board and a downlink each, and the ground, frame by frame.

A board computes one frame at a time in the order of capture, and the ground in the order of arrival. The
policy itself decides, through `nodes.policies.decide_frame`, on the link's state at that time of the replay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Protocol

from nodes.contract.latency import Latency
from nodes.contract.queueing import SendOrder, completion_times_s
from nodes.lab.evaluation.event_model.downlink import Downlink, Item, Message
from nodes.onboard.link_forecast import LinkForecast
from nodes.onboard.message import Form
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
from nodes.policies.send_order import order_of, value_of

ANSWER_BYTES = 40  # msgpack of an answer's text and confidence


@dataclass(frozen=True)
class Sent:
    """The message that a decision sends, and the ground's answer to it.

    Attributes:
        size_bytes: Size of the message.
        prepare_s: The satellite's time to make it.
        answer: The regular model's answer.
        right: Whether the answer is correct.
        ground_s: The regular model's time.
        form: Form of the message.
        pieces: Key and size of each piece that other messages of the frame may have as well.
    """

    size_bytes: int
    prepare_s: float
    answer: str
    right: bool
    ground_s: float
    form: Form = "whole"
    pieces: tuple[tuple[str, int], ...] = ()


class PairOutcomes(Protocol):
    """A frame-prompt pair with the outcomes of both models."""

    @property
    def name(self) -> str:
        """Name of the pair, unique among all."""

    @property
    def frame(self) -> str:
        """Name of the frame; prompts that are asked at the same capture share what is sent of it."""

    @property
    def prompt(self) -> str:
        """Prompt about the frame."""

    @property
    def whole_bytes(self) -> int:
        """Size of the frame as captured."""

    def run(self, spend: Callable[[float], None]) -> OnboardRun:
        """Run the compact model; `spend` is called with the seconds of each stage."""

    def attention_s(self, reading: Reading) -> float:
        """Return the time to compute attention after a stage."""

    def right_on_board(self) -> bool:
        """Return whether the compact model's answer is correct."""

    def sent(self, decision: Decision) -> Sent:
        """Return the message of a decision and the regular model's answer to it."""


@dataclass
class ReplayedPair:
    """Result of one pair; times are scenario seconds, None if the event did not happen.

    Attributes:
        pair: Name of the pair.
        capture_s: Time of capture.
        deadline_s: Time until which an answer is timely.
        contact_s: Start of the first contact after capture, or the capture if there is contact; the end of
            the trace without one.
        pass_end_s: End of that contact.
        link: Name of the link.
        trace_end_s: End of the link's trace.
        decision: Class name of the decision.
        taken: The decision.
        stage: Stage at which it was taken.
        answered_by: "satellite", "ground" or None.
        answer: Text of the answer.
        right: Whether the answer is correct.
        bytes_down: Bytes sent down for the pair.
        onboard_inference_s: Compute time on board.
        received_s: Arrival of the last byte on the ground.
        answered_s: Time at which the answer was reported.
        latency: Parts of the latency.
    """

    pair: str
    capture_s: float
    deadline_s: float
    contact_s: float
    pass_end_s: float
    link: str = ""
    trace_end_s: float = 0.0
    decision: str = ""
    taken: Decision | None = None
    stage: int = -1
    answered_by: str | None = None
    answer: str = ""
    right: bool = False
    bytes_down: int = 0
    onboard_inference_s: float = 0.0
    received_s: float | None = None
    answered_s: float | None = None
    latency: Latency | None = None

    @property
    def timely(self) -> bool:
        """Whether the answer is correct and reported before the deadline."""
        return self.right and self.answered_s is not None and self.answered_s <= self.deadline_s


@dataclass(frozen=True)
class Flight:
    """One satellite: capture time and pair of each of its frames, its link, and its name."""

    captures: Sequence[tuple[float, PairOutcomes]]
    line: LinkForecast
    satellite: str = "satellite"


@dataclass(frozen=True)
class _Handling:
    """The satellite's handling of one frame: start, decision, and the message if there is one."""

    start_s: float
    decided_s: float
    sent: Sent | None
    item: Item | None


def replay(
    policy: FramePolicy,
    captures: Sequence[tuple[float, PairOutcomes]],
    line: LinkForecast,
    *,
    answer_within_s: float = 600.0,
    reporting_s: float = 0.0,
    with_foresight: bool = False,
    send_order: SendOrder = "oldest",
    servers: int = 1,
) -> list[ReplayedPair]:
    """Play one satellite's frames over a line; the arguments are those of `Flight` and `replay_fleet`."""
    (rows,) = replay_fleet(
        policy,
        [Flight(captures, line)],
        answer_within_s=answer_within_s,
        reporting_s=reporting_s,
        with_foresight=with_foresight,
        send_order=send_order,
        servers=servers,
    )
    return rows


def replay_fleet(
    policy: FramePolicy,
    flights: Sequence[Flight],
    *,
    answer_within_s: float = 600.0,
    reporting_s: float = 0.0,
    with_foresight: bool = False,
    send_order: SendOrder = "oldest",
    servers: int = 1,
) -> list[list[ReplayedPair]]:
    """Play the frames of several satellites, which share the ground's models, and return the rows of each.

    Args:
        policy: The policy of all satellites.
        flights: The satellites.
        answer_within_s: Longest time from capture to the deadline, which is also no later than the end of the
            current or next contact.
        reporting_s: Time per on-board answer, which the ground station reports one by one.
        with_foresight: Whether the policy is told the outcomes beforehand, as the oracle is.
        send_order: Order of the images that wait, unless the policy has one; a frame's deadline is that of
            its answer.
        servers: Number of copies of the regular model on the ground.
    """
    played: list[list[tuple[ReplayedPair, _Handling]]] = [
        _fly(policy, flight, answer_within_s, send_order, with_foresight=with_foresight) for flight in flights
    ]
    _answer_on_ground([one for rows in played for one in rows], reporting_s, servers)
    return [[row for row, _ in rows] for rows in played]


def _fly(
    policy: FramePolicy,
    flight: Flight,
    answer_within_s: float,
    send_order: SendOrder,
    *,
    with_foresight: bool,
) -> list[tuple[ReplayedPair, _Handling]]:
    """Play one satellite until the end of its link; the ground's answers are still missing."""
    line = flight.line
    board = _Board(policy, flight, with_foresight, send_order)
    played: list[tuple[ReplayedPair, _Handling]] = []
    for capture_s, pair in sorted(flight.captures, key=lambda capture: capture[0]):
        contact = line.contact_after(capture_s)
        pass_end_s = contact[1] if contact else line.end_s
        row = ReplayedPair(
            pair.name,
            capture_s,
            deadline_s=min(pass_end_s, capture_s + answer_within_s),
            contact_s=max(capture_s, contact[0]) if contact else line.end_s,
            pass_end_s=pass_end_s,
        )
        played.append((row, board.handle(capture_s, pair, row)))
    board.downlink.advance(line.end_s)
    return played


class _Board:
    """The satellite: one computer and one outbox."""

    def __init__(
        self,
        policy: FramePolicy,
        flight: Flight,
        with_foresight: bool,
        send_order: SendOrder,
    ) -> None:
        self._policy = policy
        self._line = line = flight.line
        self._captures_s = sorted(time_s for time_s, _ in flight.captures)
        self._with_foresight = with_foresight
        rates = [line.row_at(t).down_bit_s for contact in line.contacts for t in _seconds(contact)]
        rates = [rate_bit_s for rate_bit_s in rates if rate_bit_s > 0]  # 0: one direction is down
        order = order_of(policy, send_order)
        rate_bit_s = median(rates) if rates else 1e6
        self.downlink = Downlink(line, rate_bit_s, flight.satellite, send_order=order)
        self._free_s = 0.0

    def handle(self, capture_s: float, pair: PairOutcomes, row: ReplayedPair) -> _Handling:
        """Decide on one frame, put its message into the outbox, and fill in `row`."""
        start_s = max(capture_s, self._free_s)
        clock = _FrameClock(start_s)
        foresight = None
        if self._with_foresight:
            foresight = Foresight(pair.right_on_board(), lambda decision: pair.sent(decision).right)
        decision, reading = decide_frame(
            self._policy,
            pair.run(clock.spend),
            pair.prompt,
            pair.whole_bytes,
            lambda: self._surroundings(clock.now_s, capture_s),
            foresight,
        )
        row.taken = decision
        row.decision, row.stage = type(decision).__name__, reading.stage
        sent, item = None, None
        if isinstance(decision, Accept):
            row.answered_by, row.answer, row.right = "satellite", reading.answer, pair.right_on_board()
            item = self.downlink.add(
                pair.name, "answer", ANSWER_BYTES, clock.now_s, deadline_s=row.deadline_s
            )
        elif not isinstance(decision, Drop):
            sent = pair.sent(decision)
            if isinstance(decision, SendRegions):
                clock.spend(pair.attention_s(reading))
            clock.spend(sent.prepare_s)
            row.answered_by, row.answer, row.right = "ground", sent.answer, sent.right
            value = value_of(self._policy, reading)
            item = self.downlink.add(
                pair.name,
                "image",
                sent.size_bytes,
                clock.now_s,
                value=1.0 if value is None else value,
                deadline_s=row.deadline_s,
                message=Message(
                    picture=(pair.frame, capture_s),
                    content=decision,
                    pieces=sent.pieces,
                    metadata={"prompt": pair.prompt, "form": sent.form},
                ),
            )
        self._free_s = clock.now_s
        row.onboard_inference_s = clock.now_s - start_s
        return _Handling(start_s, clock.now_s, sent, item)

    def _surroundings(self, now_s: float, capture_s: float) -> tuple[Contact, Queue]:
        self.downlink.advance(now_s)
        return surroundings([self._line], now_s, capture_s, self._captures_s, self.downlink.waiting)


class _FrameClock:
    """Scenario time while the board handles a frame."""

    def __init__(self, start_s: float) -> None:
        self.now_s = start_s

    def spend(self, duration_s: float) -> None:
        """Advance the clock."""
        self.now_s += duration_s


def _seconds(contact: tuple[float, float]) -> list[float]:
    """Return times in the middle of each second of a contact."""
    steps = max(1, int(contact[1] - contact[0]))
    return [contact[0] + (contact[1] - contact[0]) * (index + 0.5) / steps for index in range(steps)]


def _answer_on_ground(
    frames: Sequence[tuple[ReplayedPair, _Handling]], reporting_s: float, servers: int
) -> None:
    """Serve the arrived messages, and split each frame's latency into parts."""
    arrived = [
        (handling.item.received_s, row, handling)
        for row, handling in frames
        if handling.item and handling.item.received_s
    ]
    for received_s, row, _ in arrived:
        row.received_s = received_s
    answers = [(received_s, row, handling) for received_s, row, handling in arrived if handling.sent is None]
    reported_s = completion_times_s([(received_s, reporting_s) for received_s, _, _ in answers])
    for (received_s, row, handling), answered_s in zip(answers, reported_s, strict=True):
        row.answered_s = answered_s
        row.latency = _latency(row, handling, 0.0, 0.0, answered_s - received_s)
    images = [
        (received_s, row, handling, handling.sent.ground_s)
        for received_s, row, handling in arrived
        if handling.sent
    ]
    done_s = completion_times_s([(received_s, ground_s) for received_s, _, _, ground_s in images], servers)
    for (received_s, row, handling, ground_s), answered_s in zip(images, done_s, strict=True):
        row.answered_s = answered_s
        row.latency = _latency(row, handling, answered_s - ground_s - received_s, ground_s, 0.0)
    for row, handling in frames:
        row.bytes_down = handling.item.bytes_sent if handling.item else 0


def _latency(
    row: ReplayedPair,
    handling: _Handling,
    ground_queue_s: float,
    ground_inference_s: float,
    reporting_s: float,
) -> Latency | None:
    item = handling.item
    if item is None or item.first_s is None or item.received_s is None:
        return None
    before_s = handling.start_s - row.capture_s + item.first_s - handling.decided_s - item.wait_before_s
    on_air_s = item.received_s - item.first_s - item.wait_s - item.delay_s
    serialised_s = min(item.serialised_s, on_air_s)
    return Latency(
        queue_s=before_s + ground_queue_s,
        onboard_inference_s=row.onboard_inference_s,
        contact_wait_s=item.wait_before_s + item.wait_s,
        link_queue_s=on_air_s - serialised_s,
        serialisation_s=serialised_s,
        propagation_s=item.delay_s,
        ground_inference_s=ground_inference_s,
        reporting_s=reporting_s,
    )
