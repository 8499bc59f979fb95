"""Programs of a run that die: started again or given up, while the others go on, and said everywhere alike.

Two runs carry all deaths. In the first everything comes back, in the second nothing does.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from nodes.contract.board import GIVEN_UP
from nodes.contract.events import Captured, EventRecord
from tests.support.child_processes import descendants_with
from tests.support.faulty_server import faulty_server
from tests.support.footprint import Footprint
from tests.support.injected_run import (
    DOWN,
    HEADER,
    UP,
    Ended,
    picture,
    processes_of,
    run,
    scenario_of,
)
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.root, pytest.mark.long]

HANGS_S = 16.0  # a node used to end about 15 s after its management broker began to hang
LOS_S = 6.0


def kill(*pids: int, number: signal.Signals = signal.SIGKILL) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def made(folder: Path, pattern: str) -> Path:
    """Return the one file of the run."""
    (path,) = folder.glob(f"runs/*/{pattern}")
    return path


def frames(folder: Path, satellite: str, *capture_s: float) -> list[dict[str, Any]]:
    return [
        {
            "frame": f"{satellite}{at_s:g}", "image": str(picture(folder, f"{satellite}{at_s:g}.jpg")),
            "prompt": "send: ?", "truth": "yes", "capture_s": at_s,
        }
        for at_s in capture_s
    ]  # fmt: skip


def at_first_capture(act: Any) -> Any:
    """Return a callback that starts `act` in a thread when the first frame is captured."""
    begun: list[threading.Thread] = []

    def at_event(record: EventRecord) -> None:
        if isinstance(record.event, Captured) and not begun:
            begun.append(threading.Thread(target=act, daemon=True))
            begun[0].start()

    return at_event


def events(folder: Path, kind: str) -> list[dict[str, Any]]:
    lines = made(folder, "events.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == kind]


def said(folder: Path, kind: str, node: str) -> int:
    return sum(event["node"] == node for event in events(folder, kind))


@pytest.fixture(scope="module")
def survived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Ended, Path, dict[str, Any]]]:
    """The run in which everything dies once: (what it gave, its folder, what it left)."""
    folder = tmp_path_factory.mktemp("survived")

    def act() -> None:
        # Nothing but the run itself keeps the satellite's namespace now.
        probes = descendants_with("testbed.measure.probe")
        stand_ins = descendants_with("sleep infinity")
        kill(*stand_ins, *probes, *processes_of(made(folder, "nodes/s/config.json")))
        time.sleep(0.3)
        kill(*processes_of(made(folder, "nodes/g/config.json")))
        wait_for(lambda: said(folder, "ready", "S") == 2 and said(folder, "ready", "G") == 2, "restarts", 30)
        broker = processes_of(made(folder, "logs/management.conf"))
        kill(*broker, number=signal.SIGSTOP)
        time.sleep(HANGS_S)
        kill(*broker, number=signal.SIGCONT)

    with Footprint() as footprint:
        with ExitStack() as stack:
            server = stack.enter_context(faulty_server())
            scenario = scenario_of(
                folder,
                frames=frames(folder, "f", 1.0, 1.5, 2.0, 9.0),
                stations=[{"name": "G", "model": server}],
                probe=True,
            )
            (folder / "pass.csv").write_text(HEADER.format(end_s=27.0) + UP.format(0.0) + DOWN.format(26.0))
            ended = run(scenario, folder, at_event=at_first_capture(act))
        left = footprint.left_behind()
    yield ended, folder, left


def test_a_run_survives_the_death_of_each_of_its_programs(
    survived: tuple[Ended, Path, dict[str, Any]],
) -> None:
    ended, _, left = survived
    assert ended.results is not None, ended.errors
    assert ended.errors == ""
    assert ended.code == ended.results["verdict"]["exit_code"] == 0, ended.output
    assert ended.first_line.startswith("PASSED: 4 of 4 frames answered; ")
    assert ended.results["verdict"]["headline"].startswith(ended.first_line.strip()), "the console folds it"
    assert left == {}


def test_each_death_stands_in_the_timeline(survived: tuple[Ended, Path, dict[str, Any]]) -> None:
    ended, folder, _ = survived
    assert ended.results is not None
    absences = ended.results["absences"]
    for name in ("S", "G", "the management broker"):
        (absence,) = absences[name]
        assert absence["until_s"] > absence["from_s"] > 0, name
        line = f"{name} was absent from {absence['from_s']:.1f} to {absence['until_s']:.1f} s"
        assert any(line in warning for warning in ended.results["warnings"])
    assert {"lost", "ready"} <= {event["state"] for event in events(folder, "program")}


def test_a_probes_death_costs_its_figures_only(survived: tuple[Ended, Path, dict[str, Any]]) -> None:
    ended, _, _ = survived
    assert ended.results is not None
    for end in "SG":
        (absence,) = ended.results["absences"][f"the probe of link S - G at {end}"]
        assert absence["why"] == "it was killed by SIGKILL" and absence["for_good"]
    (link,) = ended.results["links"]
    assert link["rtt_samples"] < 30, "it was measured for some 1 s, not for 26"


def test_no_frame_is_lost_or_doubled_by_deaths(survived: tuple[Ended, Path, dict[str, Any]]) -> None:
    _, folder, _ = survived
    answers = Counter(event["frame"] for event in events(folder, "answered"))
    assert set(answers) == {"f1", "f1.5", "f2", "f9"}
    received = Counter(event["frame"] for event in events(folder, "received"))
    assert max(received.values()) == 1
    complete = [path for path in made(folder, "inbox").glob("*/*/data") if path.stat().st_size]
    assert len(complete) == 4


@pytest.fixture(scope="module")
def given_up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Ended, dict[str, Any]]]:
    """The run in which a satellite and a station's broker die again and again: (output, remains)."""
    folder = tmp_path_factory.mktemp("given-up")
    over = threading.Event()

    def act() -> None:
        broker, config = made(folder, "logs/h-broker.conf"), made(folder, "nodes/s/config.json")
        pids = processes_of(broker)
        broker.unlink()
        broker.mkdir()  # so that it cannot be written anew
        kill(*pids)
        while not over.wait(0.05):
            kill(*processes_of(config))

    with Footprint() as footprint:
        with ExitStack() as stack:
            stack.callback(over.set)
            server = stack.enter_context(faulty_server())
            stations = [{"name": name, "model": server} for name in "GH"]
            scenario = scenario_of(folder, frames=frames(folder, "s", 1.0, 1.5), stations=stations)
            scenario["satellites"].append(
                scenario["satellites"][0] | {"name": "T", "frames": frames(folder, "t", 1.2, 3.0)}
            )
            link = scenario["links"][0]
            scenario["links"] = [link | {"satellite": s, "station": g} for s in "ST" for g in "HG"]
            (folder / "pass.csv").write_text(
                HEADER.format(end_s=LOS_S + 3) + UP.format(0.0) + DOWN.format(LOS_S + 2)
            )
            ended = run(scenario, folder, at_event=at_first_capture(act))
        left = footprint.left_behind()
    yield ended, left


def test_a_program_that_cannot_be_kept_is_given_up_and_the_others_go_on(
    given_up: tuple[Ended, dict[str, Any]],
) -> None:
    ended, left = given_up
    assert ended.results is not None, ended.errors
    verdict = ended.results["verdict"]
    assert ended.code == verdict["exit_code"] == 1
    assert verdict["headline"].startswith(ended.first_line.strip())
    answered = {frame["frame"] for frame in ended.results["frames"] if frame["answer"] is not None}
    assert {"t1.2", "t3"} <= answered, ended.output
    (cause,) = verdict["causes"]
    assert "s1.5" in cause["frames"]
    assert cause["reason"].startswith("no answer from S: S was lost at ")
    assert f"its program was killed by SIGKILL; {GIVEN_UP}" in cause["reason"]
    assert left == {}


def test_a_station_without_a_broker_is_lost_by_name(given_up: tuple[Ended, dict[str, Any]]) -> None:
    ended, _ = given_up
    assert ended.results is not None
    (absence,) = ended.results["absences"]["H"]
    assert "broker h-broker died and could not be kept" in absence["why"]
    assert any(warning.startswith("H was lost at ") for warning in ended.results["warnings"])
