"""Why a frame was decided as it was: what a policy compared after each stage, and one sentence about it.

    confidence 0.31 after two tokens was below 0.55: sent down, 5 of 16 regions, 29 of 113 kB

The satellite's program puts both into the event `inference_finished`. Tables, reports and the live page show
them from there; they know no policy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from nodes.contract.events import SentRegions, StageJudgement
from nodes.failures import failing_as
from nodes.policies.situation import CAPTURED, Accept, Bounds, Decision, Drop, FramePolicy, Situation

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_DIGITS_MAX = 6


class Judgements:
    """What a policy compared about one frame, stage by stage; `decide_frame` calls it as `on_decision`.

    Args:
        policy: The policy.
    """

    def __init__(self, policy: FramePolicy) -> None:
        self._bounds = getattr(policy, "bounds", None)
        self.stages: list[StageJudgement] = []

    def __call__(self, situation: Situation, decision: Decision) -> None:
        """Note a stage."""
        bounds = Bounds(situation.token_confidence)
        if self._bounds is not None:
            with failing_as("policy"):
                bounds = self._bounds(situation)
        self.stages.append(
            StageJudgement(
                stage=situation.stage,
                finished=situation.finished,
                confidence=_finite(bounds.confidence),
                offload_below=bounds.offload_below,
                accept_from=bounds.accept_from,
                part_bytes=_finite(bounds.part_bytes),
            )
        )


def why(
    decision: Decision,
    stages: Sequence[StageJudgement],
    form: str | None,
    regions: SentRegions | None,
    message_bytes: int | None,
    whole_bytes: int,
) -> str:
    """Return the sentence about a decision.

    Args:
        decision: The decision.
        stages: What the policy compared; the last one decided.
        form: Form of the message of an offloaded frame; see nodes/onboard/message.py.
        regions: What a message of regions has of each.
        message_bytes: Size of that message.
        whole_bytes: The frame's size as captured.
    """
    last = stages[-1]
    if isinstance(decision, Accept):
        outcome = "answered on board"
    elif isinstance(decision, Drop):
        outcome = "dropped"
    else:
        outcome = f"sent down{_sent(form, regions)}, {_size(message_bytes, whole_bytes)}"
    if last.stage == CAPTURED:
        return f"decided before the compact model ran: {outcome}"
    when = _when(last)
    if last.confidence is None:
        return f"no confidence {when}: {outcome}"
    lower, upper = last.offload_below, last.accept_from
    if upper is not None and last.confidence >= upper:
        figure, bound = _apart(last.confidence, upper)
        return f"confidence {figure} {when} reached {bound}: {outcome}"
    if lower is not None and last.confidence < lower:
        figure, bound = _apart(last.confidence, lower)
        compared = f"confidence {figure} {when} was below {bound}"
        if isinstance(decision, Accept) and last.part_bytes is not None:
            room = f"{max(0.0, last.part_bytes) / 1e3:.1f} kB"
            return f"{compared}, but its part of the contact, {room}, is too small for a message: {outcome}"
        return f"{compared}: {outcome}"
    return f"confidence {last.confidence:.2f} {when}: {outcome}"


def _when(stage: StageJudgement) -> str:
    if stage.stage == 0 and not stage.finished:
        return "before the first token"
    count = _NUMBERS[stage.stage] if stage.stage < len(_NUMBERS) else str(stage.stage)
    tokens = f"{count} token{'' if stage.stage == 1 else 's'}"
    return f"of the whole answer ({tokens})" if stage.finished else f"after {tokens}"


def _sent(form: str | None, regions: SentRegions | None) -> str:
    if regions is not None:
        count = sum(reduction > 0 for reduction in regions.reductions)
        return f", {count} of {len(regions.reductions)} regions" if count else ", the overview alone"
    return {"whole": " whole", "reduced": " reduced"}.get(form or "", "")


def _size(message_bytes: int | None, whole_bytes: int) -> str:
    whole = f"{whole_bytes / 1e3:.0f} kB"
    if message_bytes is None or message_bytes == whole_bytes:
        return whole
    return f"{message_bytes / 1e3:.0f} of {whole}"


def _apart(confidence: float, bound: float) -> tuple[str, str]:
    """Return both numbers with so many digits that they differ, if they do."""
    for digits in range(2, _DIGITS_MAX + 1):
        texts = f"{confidence:.{digits}f}", f"{bound:.{digits}f}"
        if texts[0] != texts[1] or confidence == bound:
            break
    return texts


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
