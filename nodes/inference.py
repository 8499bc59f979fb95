"""A node's inference queue: one thread, one model, one frame at a time."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nodes.config import NodeConfig
from nodes.frame_image import open_image
from nodes.pace import Pace
from nodes.power_watch import PowerWatch
from nodes.program import Loop, load_model, warm_up
from nodes.report import Report
from nodes.stage_profile import read_profile

TAKE_S = 0.2


@dataclass(frozen=True, slots=True)
class Question:
    """A frame, and what is asked about it."""

    frame: str
    image: Path
    prompt: str


class Inference(Loop):
    """Loads the model, then answers question after question, in the order in which they came.

    Args:
        config: names the model.
        report: gets ready, inference_started and inference_failed.
        on_answer: called in this thread with (question, answer, finished_s); `answer` as nodes.vlm gives it.
        on_failure: called in this thread with (question, reason) when a frame could not be answered.
    """

    def __init__(
        self,
        config: NodeConfig,
        report: Report,
        on_answer: Callable[[Question, Any, float], None],
        on_failure: Callable[[Question, str], None],
    ) -> None:
        super().__init__("inference", self._serve)
        self._config = config
        self._report = report
        self._on_answer = on_answer
        self._on_failure = on_failure
        self._pace: Pace | None = None
        self._questions: queue.SimpleQueue[Question] = queue.SimpleQueue()

    def ask(self, question: Question) -> None:
        """Put a question in the queue; from any thread."""
        self._questions.put(question)

    def _serve(self, stopping: threading.Event) -> None:
        model, load_s = load_model(self._config)
        warm_up_s = warm_up(model)
        if self._config.profile is not None:
            self._pace = Pace(read_profile(self._config.profile), self._report)
        with PowerWatch(self._config.measure_power, self._report) as self._power:
            self._ready(model, load_s, warm_up_s)
            while not stopping.is_set():
                try:
                    question = self._questions.get(timeout=TAKE_S)
                except queue.Empty:
                    continue
                self._answer(model, question)

    def _ready(self, model: Any, load_s: float, warm_up_s: float) -> None:
        self._report(
            "ready",
            model=self._config.model,
            parameters=int(model.parameters),
            load_s=load_s,
            warm_up_s=warm_up_s,
            profile=None if self._pace is None else self._pace.profile.name,
        )

    def _answer(self, model: Any, question: Question) -> None:
        begin_s = time.monotonic()
        self._report("inference_started", monotonic_s=begin_s, frame=question.frame)
        most_tokens = self._config.max_new_tokens
        try:
            image = open_image(question.image)
            answer = model.answer(image, question.prompt, max_new_tokens=most_tokens)
        except (
            Exception
        ) as error:  # whatever a broken image does inside a model: the frame fails, not the node
            reason = f"{type(error).__name__}: {error}"
            self._report("inference_failed", frame=question.frame, reason=reason)
            self._on_failure(question, reason)
            return
        computed_s = time.monotonic()
        if self._pace is not None:
            answer = self._pace.answered(answer, begin_s, question.frame, most_tokens)
        self._on_answer(question, answer, time.monotonic())
        self._power.tell(question.frame, begin_s, computed_s)


def timings(answer: Any) -> dict[str, float]:
    """The stages of one answer, seconds, as fields of an event."""
    stages = answer.timings
    return {
        "preprocess_s": stages.preprocess_s,
        "vision_s": stages.vision_s,
        "prefill_s": stages.prefill_s,
        "decode_s": stages.decode_s,
    }
