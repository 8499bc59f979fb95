"""What a policy sees of a frame, and what it may decide.

    captured --> stage 0 --> stage 1 --> ... --> finished
                 image seen,  first k tokens
                 no token yet

A policy is asked when the board takes the frame up (stage CAPTURED), and again after each stage for as long
as it says `Continue`. It sees numbers only: no pixels, no model, no network. So the same policy runs on a
satellite and in the event model of `nodes.lab.evaluation`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

CAPTURED = -1


@dataclass(frozen=True, slots=True)
class Contact:
    """The contact that is up, or the next one, as the satellite's own plan has it.

    starts_in_s: 0 while it is up.
    left_s: from now, or from its start, until its end; infinite where there is no plan.
    left_bytes: what the link carries in that time; infinite where there is no plan.
    """

    starts_in_s: float = 0.0
    left_s: float = float("inf")
    left_bytes: float = float("inf")


@dataclass(frozen=True, slots=True)
class Queue:
    """What waits for the link before this frame, and what is still to come.

    size_bytes: in the outbox and not on the ground.
    frames: how many items those are.
    captures_left: frames that were planned and not yet decided on, this one not counted, until the contact's
        end.
    """

    size_bytes: int = 0
    frames: int = 0
    captures_left: int = 0


@dataclass(frozen=True, slots=True)
class Foresight:
    """What nobody can know in flight; given to an upper bound in an evaluation, None on a satellite.

    onboard_right: whether the compact model's answer is right.
    right_with: whether the ground's answer would be right after this decision.
    """

    onboard_right: bool
    right_with: Callable[[Decision], bool]


@dataclass(frozen=True, slots=True)
class Situation:
    """A frame at one stage.

    stage: CAPTURED, 0 once the image was seen, k after k tokens.
    finished: whether the answer is whole; then a policy may no longer say `Continue`.
    confidence: of the progressive confidence network at this stage, 0 to 1; None without one.
    token_confidence: geometric mean of the probabilities of the tokens so far; None before the first.
    answer: the answer, once it is whole; before that empty.
    whole_bytes: the frame's size as captured.
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


@dataclass(frozen=True, slots=True)
class Continue:
    """Compute the next stage, then ask again."""


@dataclass(frozen=True, slots=True)
class Accept:
    """Send the on-board answer; decoding is finished first, without further questions."""


@dataclass(frozen=True, slots=True)
class SendWhole:
    """Send the frame as captured."""


@dataclass(frozen=True, slots=True)
class SendReduced:
    """Send the whole frame with `reduction` times fewer pixels a side."""

    reduction: int


@dataclass(frozen=True, slots=True)
class SendRegions:
    """Send an overview and the regions that matter, in at most `budget_bytes`.

    Finding them takes the compact model's attention: one more reading of the prompt.
    """

    budget_bytes: int


@dataclass(frozen=True, slots=True)
class Drop:
    """Send nothing: the frame stays without an answer."""


Decision: TypeAlias = "Continue | Accept | SendWhole | SendReduced | SendRegions | Drop"


class FramePolicy(Protocol):
    """Decides on one frame after the other."""

    def decide(self, situation: Situation) -> Decision:
        """What to do now. Must not keep pixels, block, or say `Continue` when `situation.finished`."""


class OnboardRun(Protocol):
    """The compact model at work on one frame: real on a satellite, replayed in the event model."""

    def advance(self) -> Reading:
        """Compute the next stage; the last one has `finished`."""

    def finish(self) -> Reading:
        """Compute all that is left."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What one stage gave; see Situation."""

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
) -> tuple[Decision, Reading]:
    """Ask a policy about one frame, stage by stage, until it has decided.

    Args:
        surroundings: contact and queue as they are now; called anew at each stage.

    Returns the decision and the last reading; for `Accept` that of the finished answer. Raises ValueError
    for a policy that wants to go on after the end.
    """
    reading = UNSEEN
    while True:
        contact, queue = surroundings()
        decision = policy.decide(
            Situation(
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
            )
        )
        if isinstance(decision, Accept):
            return decision, reading if reading.finished else run.finish()
        if not isinstance(decision, Continue):
            return decision, reading
        if reading.finished:
            raise ValueError(f"policy {type(policy).__name__} wants to continue after the answer's end")
        reading = run.advance()
