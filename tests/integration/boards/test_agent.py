"""A board's agent as a process, with a real broker and a real node as its child."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nodes.clocks.timescale import Timescale
from nodes.contract import topics
from nodes.contract.board import GIVEN_UP, PIECE_BYTES, RESTARTS_MAX
from nodes.data import EO_MINI
from tests.support.boards.agent_desk import LAPSE_S, Desk
from tests.support.made_up_profile import MADE_UP
from tests.support.waiting import wait_for

READY_S = 60.0
# A Raspberry Pi 5's program that always says 3 W.
PMIC = "#!/bin/sh\nprintf ' VDD_CORE_A current(7)=3.0A\\n VDD_CORE_V volt(15)=1.0V\\n'\n"


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.close()


# Slow enough that every machine which runs this test is faster, and waits.
SLOW_STAGES = {
    "vision": {"p50_s": 1.0, "p95_s": 1.2, "count": 20},
    "prefill": {"p50_s": 0.5, "p95_s": 0.6, "count": 20},
}
SLOW = MADE_UP | {"stages": MADE_UP["stages"] | SLOW_STAGES}


def is_gone(pid: int) -> Callable[[], bool]:
    return lambda: not Path(f"/proc/{pid}").exists() or " Z " in Path(f"/proc/{pid}/stat").read_text()


@pytest.mark.long
@pytest.mark.light  # it answers at a profile's pace, which a busy machine cannot keep
def test_a_board_takes_part_through_the_deaths_of_broker_and_agent_and_ends_with_its_run(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    sensor, profile = desk.folder / "vcgencmd", desk.folder / "profile.json"
    sensor.write_text(PMIC)
    sensor.chmod(0o755)
    monkeypatch.setenv("PATH", f"{desk.folder}:{os.environ['PATH']}")
    profile.write_text(json.dumps(SLOW))
    first = desk.agent()
    wait_for(lambda: desk.state() == "idle", "registration", 20)
    facts = desk.boards.state("board-1")["facts"]
    assert facts["packages"]["paho-mqtt"] and facts["free_bytes"] > 0 and facts["boot"]
    config = desk.satellite(profile=desk.boards.files.add(profile))
    desk.boards.assign("board-1", "satellite", config, desk.node.to_json())
    wait_for(lambda: bool(desk.events("ready")), "ready", READY_S)
    assert "fetching" in desk.states and desk.state() == "running"
    fetched = {path.read_bytes() for path in (desk.folder / "board/files").iterdir()}
    assert fetched == {(EO_MINI / "e0001.jpg").read_bytes(), profile.read_bytes()}
    desk.plane.start_nodes(Timescale.starting(time.monotonic()))
    wait_for(lambda: len(desk.events("energy")) == 3, "energy of three answers", 20)
    check_answers(desk)
    (started,) = desk.events("node_started")

    desk.states.clear()
    os.kill(int(desk.broker.pid or 0), signal.SIGKILL)
    time.sleep(1.0)
    desk.broker.start()
    wait_for(lambda: len(desk.events("clock")) >= 2, "the node's events after the broker's death", 20)
    assert not is_gone(started["pid"])(), "a short loss of the plane changes nothing"
    wait_for(lambda: desk.states == ["running"], "the agent's state after the broker's death")

    first.process.kill()
    wait_for(is_gone(started["pid"]), "end of the node with its agent", 5)
    wait_for(lambda: desk.state() == "gone", "the agent's last will")
    second = desk.agent()
    wait_for(lambda: len(desk.events("node_started")) == 2, "the next agent's node", 20)
    again = desk.events("node_started")[-1]
    time.sleep(2.0)  # it has to be there before it can be stopped

    desk.boards._ending.set()  # no heartbeat any more, as if the run had been killed
    wait_for(is_gone(again["pid"]), "end of the node without its run", LAPSE_S + 5)
    wait_for(lambda: desk.state() == "idle", "an agent that waits for the next run")
    assert "no heartbeat of the run for" in desk.boards.state("board-1")["reason"]
    assert second.process.poll() is None
    captured = [e["frame"] for e in desk.events("captured")]
    assert sorted(captured) == ["f0", "f1", "f2"], "the outbox was kept: no frame is taken twice"


def check_answers(desk: Desk) -> None:
    """Each came at the profile's pace, with the recorded board's energy, in the run's time."""

    def of(kind: str) -> dict[str, dict[str, Any]]:
        return {event["frame"]: event for event in desk.events(kind)}

    (ready,) = desk.events("ready")
    (found,) = desk.events("power_sensor")
    assert ready["profile"] == "made-up" and found["source"] == "vcgencmd pmic_read_adc"
    for frame in ("f0", "f1", "f2"):
        begun, finished, paced = (of(k)[frame] for k in ("inference_started", "inference_finished", "paced"))
        bound_s = begun["clock_bound_s"] + finished["clock_bound_s"]
        assert 0 < bound_s < 0.1
        took_s = finished["own_monotonic_s"] - begun["own_monotonic_s"]
        assert took_s >= paced["profile_s"] > 1.519 and paced["profile"] == "made-up"
        assert took_s - paced["profile_s"] - paced["late_s"] < 0.05
        assert abs(finished["monotonic_s"] - begun["monotonic_s"] - took_s) <= bound_s
        assert (finished["vision_s"], finished["prefill_s"]) == (1.0, 0.5)
        energy = of("energy")[frame]
        assert energy["idle_w"] == pytest.approx(3.0)
        assert energy["energy_j"] == pytest.approx(0.0, abs=1e-6), "the recorded board never took more"
        assert energy["whole_j"] == pytest.approx(3.0 * energy["duration_s"], rel=1e-6)
        assert energy["held_s"] > 0 and energy["duration_s"] + energy["held_s"] == pytest.approx(took_s)


def test_a_node_that_cannot_be_is_told_with_its_own_words_and_the_next_assignment_counts(desk: Desk) -> None:
    agent = desk.agent()
    wait_for(lambda: desk.state() == "idle", "registration", 20)
    desk.boards.assign("board-1", "satellite", desk.satellite(model="./nowhere"), desk.node.to_json())
    wait_for(lambda: desk.state() == "failed", "failure", 20)
    assert "nowhere" in desk.boards.state("board-1")["reason"]
    (ended,) = desk.events("node_ended")
    assert ended["status"] == 2 and ended["node"] == "board-1" and ended["clock_bound_s"] > 0
    desk.boards.assign("board-1", "satellite", {**desk.satellite(), "frames": "sha256:" + "0" * 64})
    wait_for(lambda: "is not listed in files" in str(desk.boards.state("board-1")["reason"]), "refusal", 10)
    payload = json.dumps({"run": "run-1", "role": "pilot", "config": {}})
    desk.boards._client.publish(topics.board_assignment("board-1"), payload, qos=1, retain=True)
    wait_for(lambda: "role" in str(desk.boards.state("board-1")["reason"]), "refusal", 10)
    agent.ask_to_stop()
    wait_for(lambda: agent.process.poll() == 0, "end of the agent")
    wait_for(lambda: desk.state() == "gone", "its farewell")


def test_a_node_that_is_killed_is_started_again_and_given_up_in_the_end(desk: Desk) -> None:
    desk.agent()
    wait_for(lambda: desk.state() == "idle", "registration", 20)
    desk.boards.assign("board-1", "satellite", desk.satellite(), desk.node.to_json())
    for times in range(1, RESTARTS_MAX + 2):
        wait_for(lambda times=times: len(desk.events("node_started")) == times, "start", 20)  # type: ignore[misc]
        os.kill(desk.events("node_started")[-1]["pid"], signal.SIGKILL)
    wait_for(lambda: desk.state() == "failed", "end of patience", 10)
    assert "restarting" in desk.states
    assert desk.boards.state("board-1")["reason"] == f"killed by signal 9; {GIVEN_UP}"
    assert [event["status"] for event in desk.events("node_ended")] == [-9] * (RESTARTS_MAX + 1)


def test_a_run_that_has_no_heartbeat_is_not_begun_and_a_dismissed_board_is_idle(desk: Desk) -> None:
    big = desk.folder / "big.bin"
    big.write_bytes(os.urandom(3 * PIECE_BYTES + 5))
    empty = desk.folder / "empty.bin"
    empty.write_bytes(b"")
    desk.boards._ending.set()
    time.sleep(0.1)
    desk.agent()
    wait_for(lambda: desk.state() == "idle", "registration", 20)
    wanted = {"big": desk.boards.files.add(big), "empty": desk.boards.files.add(empty)}
    desk.boards.assign("board-1", "satellite", wanted)
    time.sleep(1.0)
    assert desk.states.count("fetching") == 0, "its run does not beat"
    desk.boards.close()
    desk.boards = desk.new_boards("run-2")
    wanted = {"big": desk.boards.files.add(big), "empty": desk.boards.files.add(empty)}
    desk.boards.assign(
        "board-1", "satellite", wanted
    )  # no satellite's configuration: it ends when all is there
    wait_for(lambda: desk.state() == "failed", "the end of the fetching", 15)
    found = {path.read_bytes() for path in (desk.folder / "board/files").iterdir()}
    assert found == {big.read_bytes(), b""}
    desk.boards.dismiss("board-1")
    time.sleep(0.5)
    assert desk.agents[0].process.poll() is None


def test_a_stranger_with_another_password_hears_nothing(desk: Desk) -> None:
    agent = desk.agent("guessed")
    desk.boards.assign("board-1", "satellite", {})
    time.sleep(2.0)
    assert desk.states == [] and agent.process.poll() is None
    wait_for(lambda: "refuses this board's account" in desk.agent_log.read_text(), "the agent's complaint")
