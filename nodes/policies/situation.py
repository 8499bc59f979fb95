"""Interface of policies: what a policy sees of a frame, and its possible decisions.

    captured --> stage 0 --> stage 1 --> ... --> finished
                 image seen,  first k tokens
                 no token yet

A policy is called when the board starts work on a frame (stage CAPTURED), and again after each stage as long
as it returns `Continue`. It only sees numbers: no pixels, no model, no network. The same policy therefore
runs on a satellite and in the event model of `nodes.lab.evaluation`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Protocol, TypeAlias

from nodes.errors import PartError
from nodes.failures import failing_as

CAPTURED = -1


@dataclass(frozen=True, slots=True)
class Contact:
    """The current or the next contact, according to the satellite's plan.

    Attributes:
        starts_in_s: Time until its start; 0 during the contact.
        left_s: Time until its end, from now or from its start; infinite without a plan.
        left_bytes: Capacity of the link in that time; infinite without a plan.
    """

    starts_in_s: float = 0.0
    left_s: float = float("inf")
    left_bytes: float = float("inf")


@dataclass(frozen=True, slots=True)
class Queue:
    """Data that is queued for the link before this frame, and planned frames.

    Attributes:
        size_bytes: Bytes in the outbox that have not reached the ground.
        frames: Number of items in the outbox.
        captures_left: Planned frames until the contact's end that are not yet decided, without this one.
    """

    size_bytes: int = 0
    frames: int = 0
    captures_left: int = 0


@dataclass(frozen=True, slots=True)
class PowerOutlook:
    """Battery and temperature of a satellite with a power system (docs/power.md).

    Attributes:
        charge: Energy in the battery as a share of its capacity.
        temperature_c: Temperature.
        sunlight_in_s: Time until the satellite sees the sun; 0 in sunlight, infinite if none is foreseen.
    """

    charge: float
    temperature_c: float
    sunlight_in_s: float


@dataclass(frozen=True, slots=True)
class Foresight:
    """Knowledge of the outcome, for an upper bound in an evaluation; not available on a satellite.

    Attributes:
        onboard_right: Whether the compact model's answer is right.
        right_with: Returns whether the ground's answer would be right after a decision.
    """

    onboard_right: bool
    right_with: Callable[[Decision], bool]


@dataclass(frozen=True, slots=True)
class Situation:
    """A frame at one stage.

    Attributes:
        prompt: The question about the frame.
        stage: CAPTURED, 0 once the image is encoded, k after k tokens.
        finished: Whether the answer is complete; a policy must then not return `Continue`.
        confidence: Output of the progressive confidence network at this stage, 0 to 1; None without a
            network.
        token_confidence: Geometric mean of the probabilities of the tokens so far; None before the first.
        answer: The answer; empty until it is complete.
        whole_bytes: The frame's size as captured.
        contact: The current or the next contact.
        queue: Data that is queued for the link.
        foresight: Knowledge of the outcome, in an evaluation only.
        power: Battery and temperature; None on a satellite without a power system, and in an evaluation.
    """

    prompt: str
    stage: int
    finished: bool
    confidence: float | None
    token_confidence: float | None
    answer: str
    whole_bytes: int
    contact: Contact
    queue: Queue
    foresight: Foresight | None = None
    power: PowerOutlook | None = None


@dataclass(frozen=True, slots=True)
class Continue:
    """Compute the next stage, then call the policy again."""


@dataclass(frozen=True, slots=True)
class Accept:
    """Send the on-board answer; decoding is completed first, without further calls of the policy."""


@dataclass(frozen=True, slots=True)
class SendWhole:
    """Send the frame as captured."""


@dataclass(frozen=True, slots=True)
class SendReduced:
    """Send the whole frame with `reduction` times fewer pixels per side.

    Attributes:
        reduction: 1 keeps all pixels.
        quality: Quality of the codec, 1 to 95; None for that of regions.
    """

    reduction: int
    quality: int | None = None


@dataclass(frozen=True, slots=True)
class SendRegions:
    """Send an overview and the relevant regions in at most `budget_bytes`.

    Relevance is the compact model's attention, which costs one more prefill.
    """

    budget_bytes: int


@dataclass(frozen=True, slots=True)
class Drop:
    """Send nothing: the frame remains without an answer."""


Decision: TypeAlias = "Continue | Accept | SendWhole | SendReduced | SendRegions | Drop"


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a policy compares at one stage, so that a run can explain its decision.

    Attributes:
        confidence: The confidence that is compared; None before the policy has one.
        offload_below: Confidence below which the frame is offloaded; None if it is not at this stage.
        accept_from: Confidence from which the answer is accepted; None if it is not at this stage.
        part_bytes: The frame's part of what the contact still carries; None without the contact rule.
    """

    confidence: float | None
    offload_below: float | None = None
    accept_from: float | None = None
    part_bytes: float | None = None


class FramePolicy(Protocol):
    """A policy, which decides about one frame after the other.

    A policy may also have a method `bounds(situation)`, which returns `Bounds`.
    """

    def decide(self, situation: Situation) -> Decision:
        """Return a decision; it must not block, nor return `Continue` when `situation.finished`."""


class OnboardRun(Protocol):
    """The compact model's work on one frame: real on a satellite, replayed in the event model."""

    def advance(self) -> Reading:
        """Compute the next stage; the last one is `finished`."""

    def finish(self) -> Reading:
        """Compute all remaining stages."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The result of one stage; the fields are those of `Situation`."""

    stage: int
    finished: bool
    confidence: float | None
    token_confidence: float | None
    answer: str


UNSEEN = Reading(CAPTURED, finished=False, confidence=None, token_confidence=None, answer="")


def decide_frame(
    policy: FramePolicy,
    run: OnboardRun,
    prompt: str,
    whole_bytes: int,
    surroundings: Callable[[], tuple[Contact, Queue]],
    foresight: Foresight | None = None,
    power: Callable[[], PowerOutlook | None] = lambda: None,
    on_decision: Callable[[Situation, Decision], None] = lambda situation, decision: None,
) -> tuple[Decision, Reading]:
    """Call a policy about one frame, stage by stage, until it has decided.

    Args:
        policy: The policy.
        run: The compact model's work on the frame.
        prompt: The question about the frame.
        whole_bytes: The frame's size as captured.
        surroundings: Returns contact and queue at present; called at each stage.
        foresight: Knowledge of the outcome, in an evaluation only.
        power: Returns battery and temperature at present; called at each stage.
        on_decision: Called with each situation and what the policy decided.

    Returns:
        The decision and the last reading; for `Accept` the reading of the complete answer.

    Raises:
        PartError: The policy raised an error, or returned no valid decision.
    """
    reading = UNSEEN
    while True:
        contact, queue = surroundings()
        situation = Situation(
            prompt=prompt,
            stage=reading.stage,
            finished=reading.finished,
            confidence=reading.confidence,
            token_confidence=reading.token_confidence,
            answer=reading.answer,
            whole_bytes=whole_bytes,
            contact=contact,
            queue=queue,
            foresight=foresight,
            power=power(),
        )
        with failing_as("policy"):
            decision = policy.decide(situation)
        if problem := _problem(decision, finished=reading.finished):
            raise PartError("policy", problem, _place(policy))
        on_decision(situation, decision)
        if isinstance(decision, Accept):
            return decision, reading if reading.finished else run.finish()
        if not isinstance(decision, Continue):
            return decision, reading
        reading = run.advance()


_DECISIONS = Continue, Accept, SendWhole, SendReduced, SendRegions, Drop


def _problem(decision: object, *, finished: bool) -> str | None:
    """Return what is wrong with what a policy returned, which may be anything; None if nothing is."""
    if isinstance(decision, type) and issubclass(decision, _DECISIONS):
        return f"decide returned the class {decision.__name__}: return an object, {decision.__name__}(...)"
    if not isinstance(decision, _DECISIONS):
        return f"decide returned {decision!r:.60}, which is no decision such as Accept() or SendWhole()"
    if isinstance(decision, Continue) and finished:
        return "decide returned Continue() after the answer's end"
    if isinstance(decision, SendReduced) and not _is_whole(decision.reduction, least=1):
        return (
            f"decide returned SendReduced({decision.reduction!r:.60}): the reduction is a whole number from 1"
        )
    if isinstance(decision, SendReduced) and not _is_quality(decision.quality):
        return f"decide returned SendReduced(quality={decision.quality!r:.60}): it is a whole number, 1 to 95"
    if isinstance(decision, SendRegions) and not _is_finite(decision.budget_bytes):
        return f"decide returned SendRegions({decision.budget_bytes!r:.60}): the budget is a number of bytes"
    return None


def _is_whole(value: object, least: int) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least


def _is_quality(value: object) -> bool:
    return value is None or (_is_whole(value, least=1) and int(value) <= 95)  # type: ignore[call-overload]


def _is_finite(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _place(policy: FramePolicy) -> str | None:
    """Return file, line and name of a policy's method `decide`."""
    code = getattr(getattr(type(policy), "decide", None), "__code__", None)
    return None if code is None else f"{code.co_filename}, line {code.co_firstlineno}, in decide"
