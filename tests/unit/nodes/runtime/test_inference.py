"""The inference queue of a station whose model is behind a server."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from nodes.contract.config import GroundConfig
from nodes.contract.events import Event
from nodes.errors import ServerUnavailableError
from nodes.models import COMPACT
from nodes.profiles.pace import PacedWork
from nodes.runtime import inference
from nodes.runtime.inference import OUTAGE_WAIT_S, OUTAGES_MAX, Inference, Question


def test_an_image_that_breaks_the_server_each_time_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put off while it may be the server; not for ever, if the server answers others in between."""
    monkeypatch.setattr(inference, "OUTAGE_WAIT_S", 0.0)
    where = {"management": {"unix_socket": "m"}, "broker": {"unix_socket": "b"}, "inbox": "inbox"}
    config = GroundConfig.model_validate({"name": "G", "model": str(COMPACT), **where})
    poison, good = (Question(name, Path(name), "what?") for name in ("poison", "good"))
    one_outage = 3 * OUTAGES_MAX  # so many tries with nothing answered in between
    ended: list[str] = []
    events: list[str] = []
    over = threading.Event()

    def report(event: Event, *, monotonic_s: float | None = None) -> None:
        events.append(event.event_name)

    def work(model: Any, question: Question, paced: PacedWork | None) -> str:
        if question is poison:
            raise ServerUnavailableError("said 500")
        return "water"

    def put_off(question: Question) -> None:
        ended.append("put off")
        if len(ended) > one_outage:
            asking.ask(good)
        asking.ask(poison)

    def failed(question: Question, reason: str) -> None:
        ended.append(f"{question.frame}: {reason}")
        over.set()

    asking = Inference(
        config,
        report,
        work=work,
        on_done=lambda question, answer, finished_s: None,
        on_failure=failed,
        on_put_off=put_off,
    )
    asking.start()
    asking.ask(good)
    asking.ask(poison)
    assert over.wait(60)
    asking.stop()
    asking.join(5)
    assert ended[-1] == "poison: said 500"
    assert ended[:-1] == ["put off"] * (one_outage + OUTAGES_MAX - 1)
    assert events.count("inference_failed") == OUTAGES_MAX, "each outage is told once"


@pytest.mark.parametrize(
    ("asked_s", "waited_s"), [(0.0, OUTAGE_WAIT_S), (7.0, 7.0), (9e8, inference.RETRY_AFTER_MAX_S)]
)
def test_a_server_is_left_alone_for_as_long_as_it_asks(
    asked_s: float, waited_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference, "load_model", lambda config: (Parameters(), 0.0))
    where = {"management": {"unix_socket": "m"}, "broker": {"unix_socket": "b"}, "inbox": "inbox"}
    config = GroundConfig.model_validate({"name": "G", "model": str(COMPACT), **where})

    def overloaded(model: Any, question: Question, paced: PacedWork | None) -> str:
        raise ServerUnavailableError("said 429", retry_after_s=asked_s)

    asking = Inference(
        config,
        lambda event, *, monotonic_s=None: None,
        work=overloaded,
        on_done=lambda question, answer, finished_s: None,
        on_failure=lambda question, reason: None,
        on_put_off=lambda question: None,
        prepare=lambda model: 0.0,
    )
    waits: list[float] = []

    class Stopping(threading.Event):
        """Counts the time for which somebody waits, and is set at the first wait."""

        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout or 0.0)
            self.set()
            return True

    asking._stopping = Stopping()
    asking.ask(Question("frame", Path("frame"), "what?"))
    asking.start()
    asking.join(10)
    assert waits == [waited_s]


def test_an_answer_that_cannot_be_reported_fails_its_frame_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "load_model", lambda config: (Parameters(), 0.0))
    where = {"management": {"unix_socket": "m"}, "broker": {"unix_socket": "b"}, "inbox": "inbox"}
    config = GroundConfig.model_validate({"name": "G", "model": str(COMPACT), **where})
    ended: list[str] = []
    over = threading.Event()

    def done(question: Question, answer: str, finished_s: float) -> None:
        if question.frame == "odd":
            raise ValueError("no number")
        ended.append(f"{question.frame}: {answer}")
        over.set()

    asking = Inference(
        config,
        lambda event, *, monotonic_s=None: None,
        work=lambda model, question, paced: "water",
        on_done=done,
        on_failure=lambda question, reason: ended.append(f"{question.frame}: {reason}"),
        prepare=lambda model: 0.0,
    )
    asking.start()
    for name in ("odd", "good"):
        asking.ask(Question(name, Path(name), "what?"))
    assert over.wait(10)
    asking.stop()
    asking.join(5)
    assert asking.failure is None
    assert ended == ["odd: ValueError: no number", "good: water"]


class Parameters:
    """As much of a model as is told before the first question."""

    parameters = 1
