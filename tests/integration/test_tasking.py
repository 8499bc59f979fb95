"""Tasks that go up during a run: a question about an old frame, and other settings of a satellite."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from nodes.contract.events import Answered, Event, EventRecord, InferenceFinished, TaskQueued, TaskReceived
from nodes.data import FIRST_LIGHT
from nodes.models import COMPACT
from nodes.onboard.judge import Judge
from testbed import (
    GroundStation,
    Link,
    NetworkChange,
    PolicyChange,
    Priority,
    Question,
    Satellite,
    Scenario,
    read_frames,
    run_scenario,
)
from testbed.run.progress import Progress
from tests.support.footprint import Footprint
from tests.support.injected_run import processes_of
from tests.support.made_up_profile import MADE_UP
from tests.support.nodes.made_up_network import write_network

pytestmark = pytest.mark.root
STAGES_S = {"preprocess": 0.05, "vision": 0.2, "prefill": 0.1, "decode": 0.0}
GAP_S = 1800.0


def scenario(folder: Path) -> Scenario:
    """Return two passes, half an hour apart, and tasks that are asked between them."""
    second_s = 3.0 + GAP_S
    rows = [(0, 1), (3, 0), (second_s, 1), (second_s + 60, 0)]
    (folder / "pass.csv").write_text(
        "# spaceverse-trace 2\n# satellite: S\n# station: G\n# start_utc: 2018-01-20T00:00:00Z\n"
        f"# end_s: {second_s + 61}\n# made_by: a test\n"
        "time_s,up,down_bit_s,up_bit_s,down_delay_s,up_delay_s,down_loss,up_loss\n"
        + "".join(f"{t},{up},{up * 8e6},{up * 1e6},{up * 0.006},{up * 0.006},0.0,0.0\n" for t, up in rows)
    )
    stages = {name: {"p50_s": s, "p95_s": s, "count": 1} for name, s in STAGES_S.items()}
    (folder / "profile.json").write_text(json.dumps(MADE_UP | {"stages": MADE_UP["stages"] | stages}))
    options = {"model": str(COMPACT), "profile": folder / "profile.json"}
    old, _ = frames = read_frames(FIRST_LIGHT, (0.3, second_s + 20))
    return Scenario(
        name="tasked",
        satellites=(Satellite(name="S", accept_confidence=0.0, frames=frames, **options),),
        stations=(GroundStation(name="G", **options),),
        links=(Link(satellite="S", station="G", follows=folder / "pass.csv"),),
        tasks=(
            Question(
                at_s=700, satellite="S", name="later", frame=old.frame, prompt=old.prompt, truth=old.truth
            ),
            PolicyChange(at_s=700, satellite="S", accept_confidence=1.0),
            PolicyChange(at_s=700, satellite="S", parameters={"no_such": 1}),
            Priority(at_s=700, satellite="S", send_order="newest"),
            NetworkChange(at_s=700, satellite="S", network=write_network(folder / "sure", 0.875)),
            NetworkChange(at_s=700, satellite="S", network=write_network(folder / "other", 0.1, weights="x")),
        ),
        skip_idle=True,
        grace_s=2.0,
        probe=False,
    )


class Killer(Progress):
    """Kills the station when it has the question on disk, and the satellite when it has received it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._left: dict[type[Event], str] = {TaskQueued: "g", TaskReceived: "s"}

    def event(self, record: EventRecord) -> None:
        super().event(record)
        if getattr(record.event, "task", "") == "later" and (
            victim := self._left.pop(type(record.event), None)
        ):
            (path,) = self._folder.glob(f"runs/*/nodes/{victim}/config.json")
            for pid in processes_of(path):
                os.kill(pid, signal.SIGKILL)


def test_a_question_is_answered_after_the_next_contact_also_if_programs_are_killed_and_its_time_adds_up(
    tmp_path: Path,
) -> None:
    made = scenario(tmp_path)
    with Footprint() as footprint:
        outcome = run_scenario(made, tmp_path / "runs", Killer(tmp_path))
        assert footprint.left_behind() == {}
    results = outcome.results
    assert results is not None
    records = [EventRecord.from_line(line) for line in outcome.folder.events.read_text().splitlines()]
    first, _, later = sorted(
        results.frames, key=lambda frame: frame.capture_s != 0 and frame.frame == "later"
    )
    tasks = {task.task: task for task in results.tasks}
    assert later.frame == "later" and later.answered

    # The second pass begins at 1803 s: then the question goes up, and is asked once.
    asked = tasks["later"]
    assert asked.asked_s == pytest.approx(700, abs=1e-6)
    assert asked.received_s is not None and 1803 < asked.received_s < 1806
    (answered,) = [r for r in records if isinstance(r.event, Answered) and r.event.frame == "later"]
    assert answered.time_s is not None and asked.time is not None
    assert asked.time.total_s == pytest.approx(answered.time_s - 700, abs=1e-3)
    assert asked.time.wait_up_s == pytest.approx(1803 - 700, abs=1)
    assert asked.time.onboard_s == pytest.approx(0.35, abs=0.2)
    assert results.tasks[0].asking_to_answer_s == pytest.approx(asked.time.total_s)

    # Each task was carried out, or refused, whoever was killed meanwhile.
    assert set(results.absences) == {"G", "S"}
    assert {task.task for task in results.tasks if task.done_s is None} == {"task-3", "task-6"}
    assert "no_such" in (tasks["task-3"].refused or "")
    # The network that came up judges what comes then; one for another model is refused, and changes nothing.
    assert "trained for other weights" in (tasks["task-6"].refused or "")
    new = Judge.load(tmp_path / "sure").version
    assert tasks["task-5"].network == new and tasks["task-6"].network not in (None, new)
    (fresh,) = [f for f in results.frames if f.capture_s > 1000 and f.frame != "later"]
    assert fresh.network == new
    assert first.network is None
    judged = [r.event for r in records if isinstance(r.event, InferenceFinished) and r.event.network == new]
    assert judged and all(event.network_confidence == pytest.approx(0.875) for event in judged)
    # The policy that first answered on board sends the new frame down.
    assert first.answered_by == "satellite"
    assert {f.answered_by for f in results.frames if f.capture_s > 1000} == {"ground"}
    assert results.passage is not None and results.passage.real_s < 30
    assert "Tasks that went up" in outcome.folder.report.read_text()
