"""The compact model's work on one frame, as a policy sees it; each part is computed on first use."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from PIL import Image

from nodes.contract.events import SentRegions, StageReading
from nodes.contract.files import patiently
from nodes.errors import ModelError, first_line
from nodes.onboard.confidence import END
from nodes.onboard.judge import Judge
from nodes.onboard.kept_work import KeptWork
from nodes.onboard.message import FrameMessage, make_message
from nodes.onboard.served import ServedAnswer
from nodes.onboard.stages import StagedAnswer, reading_at
from nodes.policies import Decision, Reading
from nodes.profiles.pace import PacedWork
from nodes.regions.payload import sent_reductions
from nodes.vlm.answer import Answer, ServerAnswer
from nodes.vlm.image import WARM_UP_PROMPT, open_image, warm_up_image
from nodes.vlm.openai import ServerModel
from nodes.vlm.protocol import StagedModel
from nodes.vlm.views import ShownFrame


class OnboardFrame:
    """An `OnboardRun` of `nodes.policies` with a real model, and the message that it sends afterwards.

    Methods raise ImageError if the image cannot be read. They raise ValueError if the model's family cannot
    be paused, or if regions are requested and its attention cannot be mapped.

    Args:
        model: The compact model; behind a server it answers as a whole (nodes/onboard/served.py).
        image: The file as captured; opened at the first stage.
        prompt: The question.
        judge: Confidence, relevance of regions, layout.
        max_new_tokens: Maximum length of the answer.
        paced: The pace of another machine, to which each stage and each message is delayed; None for no
            delay.
        on_wait: Called with the error while the image cannot be opened for a reason that passes.
        before_stage: Called before each stage; waits while there is no power.
    """

    def __init__(
        self,
        model: StagedModel | ServerModel,
        image: Path,
        prompt: str,
        judge: Judge,
        max_new_tokens: int,
        paced: PacedWork | None = None,
        on_wait: Callable[[OSError], None] = lambda error: None,
        before_stage: Callable[[], None] = lambda: None,
    ) -> None:
        self._model, self._image, self._prompt = model, image, prompt
        self._judge, self._max_new_tokens = judge, max_new_tokens
        self._paced = paced
        self._on_wait = on_wait
        self._before_stage = before_stage
        self._begun = False
        self._relevance: list[float] = []
        self._readings: list[Reading] = []
        self._kept = KeptWork.of(model, image)

    def __enter__(self) -> OnboardFrame:
        return self

    def __exit__(self, *_: object) -> None:
        if self._begun:
            self._staged.__exit__()

    def advance(self) -> Reading:
        """Compute the next stage."""
        self._before_stage()
        stage = self._staged.advance()
        confidence = self._judge.confidence(stage.stage, stage.features)
        text = self._staged.answer().text if stage.stage == END else ""
        if self._paced is not None:
            self._paced.stage(stage)
        reading = reading_at(stage.stage, stage.logprobs, confidence, text)
        self._readings.append(reading)
        return reading

    def finish(self) -> Reading:
        """Compute all remaining stages."""
        while True:
            reading = self.advance()
            if reading.finished:
                return reading

    def message(self, decision: Decision) -> FrameMessage:
        """Make the message of a decision."""
        message = self._kept.message(
            decision,
            self._judge.layout,
            self._scores,
            lambda scores: make_message(decision, lambda: self._pixels, scores, self._judge.layout),
        )
        if self._paced is not None:
            self._paced.message(message.form)
        return message

    def stages_before(self, last: Reading) -> list[StageReading]:
        """Return the results of the stages before the last one."""
        return [
            StageReading(stage=one.stage, confidence=one.token_confidence, network_confidence=one.confidence)
            for one in self._readings
            if one is not last
        ]

    def regions(self, message: FrameMessage) -> SentRegions | None:
        """Return where the model looked and what of it a message has; None for a message without regions."""
        if message.form != "regions" or message.data is None:
            return None
        (rows, columns), reductions = sent_reductions(message.data)
        relevance = [round(float(score), 3) for score in self._relevance]
        return SentRegions(rows=rows, columns=columns, relevance=relevance, reductions=reductions)

    def answer(self) -> Answer | ServerAnswer | None:
        """Return the answer as decoded so far, with its timings; None if the model was not used."""
        if not self._begun:
            return None
        answer = self._staged.answer()
        return answer if self._paced is None else replace(answer, timings=self._paced.timings())

    @cached_property
    def _pixels(self) -> Image.Image:
        return patiently(lambda: open_image(self._image), self._on_wait)

    @cached_property
    def _staged(self) -> StagedAnswer | ServedAnswer:
        asked = self._prompt, self._judge.layout, self._max_new_tokens
        model = self._model
        staged = (
            ServedAnswer(model, self._pixels, *asked)
            if isinstance(model, ServerModel)
            else StagedAnswer(
                model, self._kept.shown(lambda: ShownFrame.of(self._pixels, model.views)), *asked
            )
        )
        self._begun = True
        if self._paced is not None:
            self._paced.seen()
        return staged

    def _scores(self) -> list[float]:
        staged = self._staged
        if isinstance(staged, ServedAnswer):
            self._relevance = staged.scores()
        else:
            self._relevance = self._judge.scores(staged.attention())
        return self._relevance


def warm_up(model: StagedModel | ServerModel, judge: Judge) -> float:
    """Go through all stages about a grey image and return the duration in seconds.

    Raises:
        ModelError: The model cannot answer stage by stage, or the judge is for another model.
    """
    if isinstance(model, ServerModel):
        return model.warm_up()
    began_s = model.now_s()
    try:
        with StagedAnswer(model, warm_up_image(), WARM_UP_PROMPT, judge.layout, 2) as staged:
            stage = staged.advance()
            judge.confidence(stage.stage, stage.features)
            while stage.stage != END:
                stage = staged.advance()
                judge.confidence(stage.stage, stage.features)
            # A family whose attention cannot be mapped works with all policies that send no regions.
            with contextlib.suppress(ValueError):
                staged.attention()
    except Exception as error:  # a user's model may raise anything, as does a network for another model
        raise ModelError(f"the model cannot answer stage by stage: {first_line(error)}") from error
    return model.now_s() - began_s
