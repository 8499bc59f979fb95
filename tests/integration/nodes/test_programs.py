"""The satellite and ground programs as processes, with the shipped pair of models."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from nodes.data import FIRST_LIGHT
from nodes.models import COMPACT, REGULAR
from testbed.mqtt.broker import Broker, TcpListener, UnixListener
from testbed.network.programs import spawn
from tests.support.nodes.ends import Event, Recorder, free_port
from tests.support.waiting import wait_for

pytestmark = pytest.mark.alone  # they are timed

FRAMES = 6
READY_S = 60
POLICY = """
from nodes.policies import Accept, Continue, Drop, SendReduced, SendRegions, SendWhole

class Policy:
    '''Each frame another decision, in turn; each after another stage.'''

    turn = -1

    def decide(self, situation):
        if situation.stage < 0:
            self.turn += 1
        assert situation.contact.left_bytes > 1e6 and situation.queue.captures_left < 7
        match self.turn % 6:
            case 0:
                return SendReduced(2)
            case 1:
                return SendRegions(12_000) if situation.stage == 0 else Continue()
            case 2:
                return Drop() if situation.finished else Continue()
            case 3:
                return Accept() if situation.stage == 1 else Continue()
            case 4:
                return SendWhole() if situation.finished else Continue()
            case _:
                return Accept()
"""
FORMS = ("reduced", "regions", None, None, "whole", None)  # as the policy says, in the order of capture


class Run(Recorder):
    """Two brokers, two programs, and the management plane's other end."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        port = free_port()
        plane = folder / "management.sock"
        self.management = Broker(folder, [UnixListener(plane)], name="management", popen=spawn)
        self.ground_broker = Broker(
            folder,
            [TcpListener("127.0.0.1", port), UnixListener(folder / "ground.sock")],
            name="ground",
            popen=spawn,
        )
        self.management.start()
        self.ground_broker.start()
        self._client = Client(CallbackAPIVersion.VERSION2, transport="unix")
        self._client.on_message = lambda *a: self.events.append(json.loads(a[2].payload))
        self._client.connect(str(plane))
        self._client.subscribe("spaceverse/event/+", 1)
        self._client.loop_start()
        common = {"management": {"unix_socket": str(plane)}, "model_threads": 1}
        broken = folder / "broken.jpg"
        broken.write_bytes(b"\xff\xd8 this was a JPEG once" * 400)
        questions = [json.loads(line) for line in (FIRST_LIGHT / "prompts.jsonl").read_text().splitlines()]
        self.frames = [
            {
                "frame": question["frame"],
                "image": str(FIRST_LIGHT / question["image"]),
                "prompt": question["prompt"],
                "capture_s": 0.1 * number,
            }
            for number, question in enumerate(questions[:FRAMES])
        ]
        self.frames.append({"frame": "broken", "image": str(broken), "prompt": "what?", "capture_s": 0.8})
        (folder / "turns.py").write_text(POLICY)
        plan = {"rows": [{"time_s": 0.0, "up": True, "down_bit_s": 20e6}], "end_s": 600.0}
        satellite = {
            "name": "Sat 1",
            "stations": [{"name": "Ground", "host": "127.0.0.1", "port": port, "plan": plan}],
            "model": str(COMPACT),
            "policy": str(folder / "turns.py"),
            "frames": self.frames,
            "outbox": str(folder / "outbox"),
            "rate_bit_s": 20e6,
        }
        ground = {
            "name": "Ground",
            "broker": {"unix_socket": str(folder / "ground.sock")},
            "model": str(REGULAR),
            "inbox": str(folder / "inbox"),
            "management_lost_after_s": 5.0,
        }
        self.programs: dict[str, subprocess.Popen[bytes]] = {}
        bad = {**ground, "name": "Bad", "model": "owner/none"}
        for name, program, config in (
            ("satellite", "nodes.satellite", satellite),
            ("ground", "nodes.ground", ground),
            ("bad", "nodes.ground", bad),
        ):
            path = folder / f"{name}.json"
            path.write_text(json.dumps({**common, **config}))
            self.programs[name] = spawn(
                [sys.executable, "-m", program, "--config", str(path)],
                stderr=subprocess.PIPE,
                env={**os.environ, "HF_HUB_OFFLINE": "1"},
            )

    def start(self, start_monotonic_s: float) -> None:
        command = json.dumps({"command": "start", "start_monotonic_s": start_monotonic_s})
        self._client.publish("spaceverse/control", command, qos=1, retain=True).wait_for_publish(5)

    def settled(self) -> bool:
        """Whether every frame was answered, refused or dropped."""
        ends = self.of("answered") + self.of("refused") + self.of("dropped")
        return len({e["frame"] for e in ends}) == len(self.frames)

    def one(self, event: str, **fields: object) -> Event:
        (found,) = self.of(event, **fields)
        return found

    def close(self) -> None:
        for process in self.programs.values():
            process.kill()
            process.communicate()
        self._client.disconnect()
        self._client.loop_stop()
        self.management.stop()
        self.ground_broker.stop()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """One run for all tests of this file, each taking it further: loading models is what takes time."""
    made = Run(tmp_path_factory.mktemp("run"))
    try:
        wait_for(lambda: len(made.of("ready")) == 2, "both models", READY_S)
        yield made
    finally:
        made.close()


def test_every_frame_is_answered_once(run: Run) -> None:
    assert run.of("captured") == [], "frames before the start"
    start_s = time.monotonic() + 0.5
    run.start(start_s)
    wait_for(run.settled, "an end for every frame", 30)
    for frame, form in zip(run.frames[:-1], FORMS, strict=True):
        check_frame(run, str(frame["frame"]), form, float(frame["capture_s"]), start_s)
    assert run.one("refused")["frame"] == "broken"
    assert run.one("delivered", frame="broken")["what"] == "image"


def check_frame(run: Run, frame: str, form: str | None, capture_s: float, start_s: float) -> None:
    captured = run.one("captured", frame=frame)
    assert capture_s <= captured["time_s"] < capture_s + 0.1
    assert captured["monotonic_s"] - start_s == pytest.approx(captured["time_s"])
    onboard = run.one("inference_finished", frame=frame, node="Sat 1")
    assert onboard["form"] == form
    if onboard["decision"] == "drop":
        assert run.one("dropped", frame=frame)["reason"] == "dropped by the policy"
        assert run.of("send_started", frame=frame) == run.of("answered", frame=frame) == []
        return
    assert onboard["decision"] == ("answer" if form is None else "offload")
    what = "answer" if form is None else "image"
    answered = run.one("answered", frame=frame)
    sent_bytes = run.one("send_started", frame=frame)["size_bytes"]
    assert (sent_bytes < 0.6 * captured["size_bytes"]) == (form != "whole")
    chain: list[dict[str, Any]] = [
        captured,
        run.one("inference_started", frame=frame, node="Sat 1"),
        onboard,
        run.one("send_started", frame=frame, what=what),
        run.one("received", frame=frame, what=what),
    ]
    if what == "image":
        assert answered["answered_by"] == "ground"
        chain.append(run.one("inference_started", frame=frame, node="Ground"))
        chain.append(run.one("inference_finished", frame=frame, node="Ground"))
    else:
        assert (answered["answered_by"], answered["answer"]) == ("satellite", onboard["answer"])
        assert answered["confidence"] == pytest.approx(onboard["confidence"])
    chain.append(answered)
    times_s = [event["monotonic_s"] for event in chain]
    assert times_s == sorted(times_s)


def test_model_that_does_not_load_is_the_users_mistake(run: Run) -> None:
    process = run.programs["bad"]
    _, errors = process.communicate(timeout=READY_S)
    assert process.returncode == 2
    assert b"owner/none" in errors.splitlines()[-1]


def test_sigterm_is_a_clean_stop(run: Run) -> None:
    process = run.programs["satellite"]
    asked_s = time.monotonic()
    process.terminate()
    process.communicate(timeout=5)
    assert process.returncode == 0
    assert time.monotonic() - asked_s < 2


def test_node_ends_when_its_run_has_died(run: Run) -> None:
    process = run.programs["ground"]
    run.management.stop()
    gone_s = time.monotonic()
    _, errors = process.communicate(timeout=10)
    assert process.returncode == 1
    assert b"no management broker" in errors.splitlines()[-1]
    assert 4 < time.monotonic() - gone_s < 8
