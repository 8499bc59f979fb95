"""How a satellite decided about a frame, from its events: for the table, the report and results.json.

The sentence is the satellite's own (nodes/policies/explanation.py), so that all of them say the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from nodes.contract.events import Captured, Event, InferenceFinished, StageJudgement

REGIONS_MAX = 4096  # of one frame, in a drawing
Outcome = Literal["own", "reduced", "overview"]


@dataclass(frozen=True)
class JudgedStage:
    """What the policy compared after one stage; the fields are those of `StageJudgement`."""

    stage: int
    finished: bool
    confidence: float | None
    offload_below: float | None = None
    accept_from: float | None = None
    part_bytes: float | None = None

    @classmethod
    def of(cls, told: StageJudgement) -> JudgedStage:
        """Return the stage as told by an event."""
        return cls(**told.model_dump())

    @property
    def when(self) -> str:
        """The moment: "before the model", "image seen", "1 token", "whole answer"."""
        if self.finished:
            return "whole answer"
        if self.stage <= 0:
            return "image seen" if self.stage == 0 else "before the model"
        return f"{self.stage} token{'' if self.stage == 1 else 's'}"

    @property
    def compared(self) -> str:
        """The confidence with the bound that it crossed, such as "0.12<0.25"; else the confidence alone."""
        if self.confidence is None:
            return "-"
        text = f"{self.confidence:.2f}"
        if self.accept_from is not None and self.confidence >= self.accept_from:
            return f"{text}≥{self.accept_from:.2f}"
        if self.offload_below is not None and self.confidence < self.offload_below:
            return f"{text}<{self.offload_below:.2f}"
        return text


@dataclass(frozen=True)
class KeptRegions:
    """The regions of a frame that was sent as regions; the fields are those of `SentRegions`."""

    rows: int
    columns: int
    relevance: tuple[float, ...]
    reductions: tuple[int, ...]

    @property
    def text(self) -> str:
        """The number of regions that were sent, of all."""
        return f"{sum(one > 0 for one in self.reductions)}/{len(self.reductions)}"

    def cells(self) -> list[tuple[int, int, float, Outcome]]:
        """Return column, row, relevance as a share of the largest, and what was sent of each region.

        "own": its own pixels; "reduced": fewer; "overview": no more than the overview. Empty where the
        numbers do not fit together.
        """
        count = self.rows * self.columns
        if not (
            self.rows > 0
            and 0 < count <= REGIONS_MAX
            and len(self.reductions) == len(self.relevance) == count
        ):
            return []
        largest = max(self.relevance) or 1.0
        return [
            (
                index % self.columns,
                index // self.columns,
                min(1.0, max(0.0, self.relevance[index] / largest)),
                "overview" if reduction <= 0 else "own" if reduction == 1 else "reduced",
            )
            for index, reduction in enumerate(self.reductions)
        ]


@dataclass(frozen=True)
class OnboardDecision:
    """What decided about a frame, and why.

    Attributes:
        why: The decision in words; None in runs of earlier versions.
        stages: What the policy compared after each stage; the last one decided.
        regions: What was sent of each region, if the frame was sent as regions.
        form: Form of the message of an offloaded frame; see nodes/onboard/message.py.
        captured_bytes: The frame's size as captured; None for a question that came up.
        message_bytes: Size of the message of an offloaded frame.
    """

    why: str | None = None
    stages: tuple[JudgedStage, ...] = ()
    regions: KeptRegions | None = None
    form: str | None = None
    captured_bytes: int | None = None
    message_bytes: int | None = None

    @property
    def when(self) -> str:
        """The stage at which the policy decided."""
        return self.stages[-1].when if self.stages else "-"

    @property
    def found_no_room(self) -> bool:
        """Whether the frame was to go down, and was answered on board as the contact could not carry it."""
        last = self.stages[-1] if self.stages else None
        if last is None or None in (last.part_bytes, last.confidence, last.offload_below):
            return False
        return self.message_bytes is None and last.confidence < last.offload_below  # type: ignore[operator]

    @property
    def sent(self) -> str:
        """What went down of the frame: regions of all, "whole", "reduced", "no room"; "-" for an answer."""
        if self.regions is not None:
            return self.regions.text
        return "no room" if self.found_no_room else self.form or "-"

    @property
    def confidences(self) -> str:
        """The confidence of each stage."""
        texts = [stage.compared for stage in self.stages if stage.stage >= 0 or stage.finished]
        return " ".join(texts) or "-"


def decision_of(events: Iterable[Event], on_board: InferenceFinished | None) -> OnboardDecision | None:
    """Return what decided about a frame.

    Args:
        events: The frame's events.
        on_board: The satellite's own; None if it has not decided.
    """
    if on_board is None:
        return None
    told = on_board.regions
    return OnboardDecision(
        why=on_board.why,
        stages=tuple(map(JudgedStage.of, on_board.judged or ())),
        regions=None
        if told is None
        else KeptRegions(told.rows, told.columns, tuple(told.relevance), tuple(told.reductions)),
        form=on_board.form,
        captured_bytes=next((event.size_bytes for event in events if isinstance(event, Captured)), None),
        message_bytes=on_board.message_bytes,
    )
