"""The satellite's program on a disk that refuses files for a while, or for good."""

from __future__ import annotations

import math
import os
import resource
import threading
from pathlib import Path
from typing import Any

import pytest

from nodes.contract.config import BrokerAddress, Frame, SatelliteConfig, Station
from nodes.errors import ConfidenceError, WithdrawnError
from nodes.onboard.judge import Judge
from nodes.onboard.message import FrameMessage
from nodes.policies import Drop, Reading, flying_policy
from nodes.runtime.inference import Question
from nodes.satellite import Decided, Satellite
from nodes.transfer.outbox import Outbox


@pytest.fixture
def satellite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Satellite:
    monkeypatch.setattr("nodes.satellite.STORE_AGAIN_S", 0.02)
    image = tmp_path / "frame.jpg"
    image.write_bytes(b"x" * 20_000)
    config = SatelliteConfig(
        name="Sat",
        management=BrokerAddress(unix_socket=tmp_path / "socket"),
        model="owner/model",
        stations=[Station(name="G", host="127.0.0.1", port=1883)],
        frames=[Frame(frame="f", image=image, prompt="?", capture_s=0.0)],
        outbox=tmp_path / "outbox",
        rate_bit_s=1e6,
        accept_confidence=0.5,
    )
    return Satellite(config, flying_policy(config.policy, config.parameters), Judge())


def events(satellite: Satellite, name: str) -> list[dict[str, Any]]:
    return [r.event.fields() for r, _ in satellite._management._waiting if r.name == name]


def send(satellite: Satellite) -> None:
    frame = satellite._config.frames[0]
    satellite._send_image(Question(frame.frame, frame.image, frame.prompt), FrameMessage("whole"))


def test_frame_waits_for_a_disk_that_refuses_it_for_a_while(satellite: Satellite) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    timer = threading.Timer(0.3, resource.setrlimit, (resource.RLIMIT_NOFILE, before))
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
    timer.start()
    try:
        send(satellite)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        timer.cancel()
    assert satellite._outbox.holds("f") and events(satellite, "refused") == []
    (trouble,) = events(satellite, "outbox_trouble")
    assert "frame f waits" in trouble["reason"] and "Too many open files" in trouble["reason"]


def test_frame_that_the_disk_refuses_for_good_is_given_up_by_name(
    satellite: Satellite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nodes.satellite.STORE_AGAIN_MAX_S", 0.1)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        send(satellite)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    (refused,) = events(satellite, "refused")
    assert refused["frame"] == "f" and "Too many open files" in refused["reason"]
    assert not satellite._outbox.holds("f")


def test_frame_goes_down_as_captured_if_the_server_of_the_model_stays_away(
    satellite: Satellite, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = satellite._config.frames[0]
    question = Question(frame.frame, frame.image, frame.prompt)
    satellite._config = satellite._config.model_copy(update={"model": "openai:http://127.0.0.1:1/v1"})
    for _ in range(3):
        satellite._again(question)
    assert not satellite._outbox.holds("f") and satellite._inference.due_s() == -math.inf, "it is asked again"
    monkeypatch.setattr("nodes.satellite.SERVER_AWAY_S", 0.0)
    satellite._again(question)
    assert satellite._outbox.holds("f")


def test_frame_that_the_policy_dropped_is_not_taken_again_after_a_restart(satellite: Satellite) -> None:
    frame = satellite._config.frames[0]
    question = Question(frame.frame, frame.image, frame.prompt)
    satellite._decided(question, Decided(Drop(), Reading(1, True, 0.5, 0.5, "no"), None, None), 0.0)
    assert not satellite._outbox.holds("f"), "the run does not know of it yet"
    taken = [on_taken for _, on_taken in satellite._management._waiting if on_taken is not None]
    for on_taken in taken:
        on_taken()
    again = Outbox(satellite._config.outbox, "sat", 4096, report=satellite._report)
    assert again.holds("f") and satellite._outbox.holds("f")
    assert len(events(satellite, "dropped")) == 1 and events(satellite, "outbox_trouble") == []


def test_a_network_that_fails_at_a_frame_is_given_up_and_the_frame_is_judged_again(
    satellite: Satellite, monkeypatch: pytest.MonkeyPatch
) -> None:
    configured, came_up = satellite._judge, Judge(version="new")
    satellite._changes._judges[1] = "n1", came_up
    satellite._judge = came_up

    def decide_by(judge: Judge, *_: object) -> Decided:
        raise ConfidenceError("9 features")

    monkeypatch.setattr(satellite, "_decide_by", decide_by)
    question = Question("f", Path("f.jpg"), "?")
    with pytest.raises(WithdrawnError):  # the frame is asked again
        satellite._decide(None, question, None)
    assert satellite._judge is configured
    (refused,) = events(satellite, "task_refused")
    assert refused == {"task": "n1", "reason": "9 features; the network before it stays"}
    with pytest.raises(ConfidenceError):
        satellite._decide(None, question, None)


def test_prompts_about_one_capture_share_its_bytes_and_a_later_one_does_not(tmp_path: Path) -> None:
    image = tmp_path / "frame.jpg"
    image.write_bytes(os.urandom(20_000))
    asked = {"a": 0.0, "b": 0.0, "later": 1.0}
    config = SatelliteConfig(
        name="Sat",
        management=BrokerAddress(unix_socket=tmp_path / "socket"),
        model="owner/model",
        stations=[Station(name="G", host="127.0.0.1", port=1883)],
        frames=[Frame(frame=name, image=image, prompt=name, capture_s=at_s) for name, at_s in asked.items()],
        outbox=tmp_path / "outbox",
        rate_bit_s=1e6,
        accept_confidence=0.5,
    )
    satellite = Satellite(config, flying_policy(config.policy, config.parameters), Judge())
    for frame in config.frames:
        satellite._send_image(Question(frame.frame, image, frame.prompt), FrameMessage("whole"))
    assert [item.own_bytes for item in satellite._outbox.pending(3)] == [20_000, 0, 20_000]
    assert satellite._downlink.waiting() == (40_000, 3)
