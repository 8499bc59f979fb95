"""A node's inference queue: one thread, one model, one frame at a time."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nodes.contract.config import NodeConfig
from nodes.contract.events import FailedPart, FrameEvent, InferenceFailed, InferenceStarted, Ready
from nodes.contract.report import Report, WaitingClock
from nodes.errors import ImageError, PartError, ServerUnavailableError, WithdrawnError
from nodes.failures import named, where_of
from nodes.power.supply import Mains, Supply
from nodes.profiles.pace import Pace, PacedWork
from nodes.profiles.profile import difference, read_profile
from nodes.runtime.power_watch import PowerWatch
from nodes.runtime.program import Loop, load_model, warm_up
from nodes.vlm.openai import is_server
from nodes.vlm.protocol import AnsweringModel

TAKE_S = 0.2
OUTAGE_WAIT_S = 2.0  # before a server that is away is asked again
RETRY_AFTER_MAX_S = 30.0  # for longer, a server cannot ask to be left alone
REASON_CHARACTERS = 500
OUTAGES_MAX = 10  # that begin with one image, others answered in between: then it is the image


@dataclass(frozen=True, slots=True)
class Question:
    """A frame and the question about it.

    `form` is that of its bytes (nodes/onboard/message.py). `satellite` is set on the ground: the slug of the
    satellite that sent it.
    """

    frame: str
    image: Path
    prompt: str
    form: str = "whole"
    satellite: str | None = None


class Inference(Loop):
    """Loads the model, then works on question after question, in the order in which they came.

    Args:
        config: names the model.
        report: gets Ready, InferenceStarted and InferenceFailed.
        work: called in this thread with (model, question, pace of a profile or None), and keeps that pace;
            whatever it raises is a failure of that frame.
        on_done: called in this thread with (question, what `work` gave, finished_s).
        on_failure: called in this thread with (question, reason).
        on_put_off: called in this thread with a question that the model's server could not take now, or that
            `work` withdrew; it has to be asked again. None: that is a failure like any other.
        prepare: called with the model before the first question; seconds that it took.
        clock: scenario time, which a profile's pace follows.

    Attributes:
        lacks: called with the model before it is announced; returns in words what the work has to do without.
        on_activity: called whenever the queue has something to do, has it at another time, or has nothing.
        supply: gives power, or lets the work wait for it.
    """

    def __init__(
        self,
        config: NodeConfig,
        report: Report,
        *,
        work: Callable[[Any, Question, PacedWork | None], Any],
        on_done: Callable[[Question, Any, float], None],
        on_failure: Callable[[Question, str], None],
        on_put_off: Callable[[Question], None] | None = None,
        prepare: Callable[[Any], float] = warm_up,
        clock: WaitingClock | None = None,
    ) -> None:
        super().__init__("inference", self._serve)
        self._config = config
        self._report = report
        self._work = work
        self._on_done = on_done
        self._on_failure = on_failure
        self._on_put_off = on_put_off
        self._server_away = False
        self._outages: Counter[Path] = Counter()
        self._prepare = prepare
        self._clock = clock
        self.on_activity: Callable[[], None] = lambda: None
        self.lacks: Callable[[Any], str | None] = lambda model: None
        self.supply: Supply = Mains()
        self._waits_for_power = False
        self._lock = threading.Lock()
        self._unanswered = 0
        self._held_until_s: float | None = None
        self._pace: Pace | None = None
        self._questions: queue.SimpleQueue[Question] = queue.SimpleQueue()

    def ask(self, question: Question) -> None:
        """Put a question in the queue; from any thread."""
        with self._lock:
            self._unanswered += 1
        self.on_activity()
        self._questions.put(question)

    def due_s(self) -> float:
        """Return the scenario time at which there is something to do; see `Idleness.watch`."""
        with self._lock:
            if self._unanswered == 0 or (self._waits_for_power and not self.supply.may_compute):
                return math.inf
            return -math.inf if self._held_until_s is None else self._held_until_s

    def _hold(self, until_s: float | None) -> None:
        with self._lock:
            self._held_until_s = until_s
        self.on_activity()

    def _serve(self, stopping: threading.Event) -> None:
        model, load_s = load_model(self._config)
        warm_up_s = self._prepare(model)
        if self._config.profile is not None:
            profile = read_profile(self._config.profile)
            self._pace = Pace(profile, self._report, self._config.max_new_tokens, self._clock, self._hold)
            self._pace.slowdown = self.supply.slowdown
        config = self._config
        with PowerWatch(config.measure_power, self._report, config.power_sensor, self.supply) as self._power:
            self._ready(model, load_s, warm_up_s)
            while not stopping.is_set():
                try:
                    question = self._questions.get(timeout=TAKE_S)
                except queue.Empty:
                    continue
                if not self._wait_for_power():
                    return
                self.supply.computing(True)
                self._serve_one(model, question)
                self.supply.computing(False)
                self.supply.answered()
                with self._lock:
                    self._unanswered -= 1
                self.on_activity()

    def rest(self, paced: PacedWork | None) -> None:
        """Let the work on a frame wait between two of its stages while there is no power for the next."""
        if self.supply.may_compute:
            return
        begin_s = time.monotonic()
        self.supply.computing(False)
        if self._wait_for_power():
            self.supply.computing(True)
        if paced is not None:
            paced.rested(begin_s, time.monotonic())

    def _wait_for_power(self) -> bool:
        """Wait until there is power for inference; False if the node is to stop."""
        if self.supply.may_compute:
            return True
        self._waits_for_power = True
        self.on_activity()
        try:
            return self.supply.wait_to_compute(self._stopping)
        finally:
            self._waits_for_power = False
            self.on_activity()

    def _ready(self, model: AnsweringModel, load_s: float, warm_up_s: float) -> None:
        self._report(
            Ready(
                model=self._config.model,
                parameters=model.parameters,
                load_s=load_s,
                warm_up_s=warm_up_s,
                profile=None if self._pace is None else self._pace.profile.name,
                place=getattr(model, "place", None),
                lacks=self.lacks(model),
                differs=None if self._pace is None else difference(self._pace.profile, self._config.options),
            )
        )

    def _serve_one(self, model: AnsweringModel, question: Question) -> None:
        begin_s = time.monotonic()
        self._report(_of(question, InferenceStarted(frame=question.frame)), monotonic_s=begin_s)
        paced = self._pace.begin(question.frame, begin_s) if self._pace is not None else None
        try:
            done = self._work(model, question, paced)
        except (
            Exception
        ) as error:  # whatever a broken image does inside a model: the frame fails, not the node
            self._failed(question, error)
            return
        finished_s = time.monotonic()
        self._server_away = False
        if paced is not None:
            paced.tell()
        try:
            self._on_done(question, done, finished_s)
        except Exception as error:  # what a model gave cannot be reported
            self._failed(question, error)
            return
        self._power.report_energy(
            question.frame, begin_s, finished_s, paced.held_s if paced is not None else ()
        )

    def _failed(self, question: Question, error: Exception) -> None:
        if isinstance(error, WithdrawnError) and self._on_put_off is not None:
            self._on_put_off(question)
            return
        failed = self._failure(question, error)
        if isinstance(error, ServerUnavailableError) and self._on_put_off is not None:
            self._outages[question.image] += not self._server_away
            if self._outages[question.image] < OUTAGES_MAX:
                self._put_off(self._on_put_off, question, failed, error.retry_after_s)
                return
        self._report(_of(question, failed))
        self._on_failure(question, failed.reason)

    def _failure(self, question: Question, error: Exception) -> InferenceFailed:
        """Return the event that names the part that failed, the error and its place."""
        if isinstance(error, PartError):
            return InferenceFailed(
                frame=question.frame,
                reason=error.reason[:REASON_CHARACTERS],
                part=error.part,  # type: ignore[arg-type]
                where=error.where,
            )
        of_image = isinstance(error, ImageError) or (
            isinstance(error, OSError) and error.filename in (question.image, str(question.image))
        )
        part: FailedPart = "image" if of_image else "server" if is_server(self._config.model) else "model"
        expected = of_image or part == "server"
        return InferenceFailed(
            frame=question.frame,
            reason=named(error)[:REASON_CHARACTERS],
            part=part,
            where=None if expected else where_of(error),
        )

    def _put_off(
        self,
        give_back: Callable[[Question], None],
        question: Question,
        failed: InferenceFailed,
        retry_after_s: float,
    ) -> None:
        """Give a question back, wait a little before the next one. Told once, for all that follow, too."""
        if not self._server_away:
            self._report(_of(question, failed.model_copy(update={"put_off": True})))
        self._server_away = True
        give_back(question)
        self._stopping.wait(max(OUTAGE_WAIT_S, min(retry_after_s, RETRY_AFTER_MAX_S)))


@dataclass(frozen=True, slots=True)
class StageTimes:
    """Seconds that the stages of one answer took; None for an answer that was not generated."""

    preprocess_s: float | None = None
    vision_s: float | None = None
    prefill_s: float | None = None
    decode_s: float | None = None

    @classmethod
    def of(cls, answer: Any) -> StageTimes:
        """Return the times of an answer of a model, or of None."""
        if answer is None:
            return cls()
        stages = answer.timings
        return cls(stages.preprocess_s, stages.vision_s, stages.prefill_s, stages.decode_s)


def _of(question: Question, event: FrameEvent) -> FrameEvent:
    return event if question.satellite is None else event.sent_from(question.satellite)
