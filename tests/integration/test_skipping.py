"""Two passes, hours apart: idle time is skipped, and answers and latencies are those of the whole wait."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import fmean

import pytest

from nodes.contract.events import EventRecord, SkippingEnded, TimeJumped
from nodes.data import FIRST_LIGHT
from nodes.models import COMPACT
from nodes.transfer.outbox import Outbox
from testbed import GroundStation, Link, Satellite, Scenario, read_frames, run_scenario
from testbed.errors import ShaperDiedError
from testbed.run.progress import Progress
from testbed.run.run import Outcome
from testbed.scenario.model import to_json
from tests.support import ROOT
from tests.support.child_processes import descendants_with
from tests.support.footprint import Footprint
from tests.support.injected_run import processes_of
from tests.support.made_up_profile import MADE_UP
from tests.support.starved import Starvation
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.root]
STAGES_S = {"preprocess": 0.05, "vision": 0.2, "prefill": 0.1, "decode": 0.0}
HOUR_S = 3600.0


def scenario(folder: Path, gap_s: float, *, skip: bool, between: int = 1) -> Scenario:
    """Return a pass of 3 s, another after a gap, and frames before, in and between them."""
    second_s = 4.0 + gap_s
    rows = [(0, 0), (1, 1), (4, 0), (second_s, 1), (second_s + 3, 0)]
    (folder / "pass.csv").write_text(
        "# spaceverse-trace 2\n# satellite: S\n# station: G\n# start_utc: 2018-01-20T00:00:00Z\n"
        f"# end_s: {second_s + 4}\n# made_by: a test\n"
        "time_s,up,down_bit_s,up_bit_s,down_delay_s,up_delay_s,down_loss,up_loss\n"
        + "".join(f"{t},{up},{up * 8e6},{up * 1e6},{up * 0.006},{up * 0.006},0.0,0.0\n" for t, up in rows)
    )
    stages = {name: {"p50_s": s, "p95_s": s, "count": 1} for name, s in STAGES_S.items()}
    (folder / "profile.json").write_text(json.dumps(MADE_UP | {"stages": MADE_UP["stages"] | stages}))
    profile = folder / "profile.json"
    captures_s = (0.2, 2.0, *(4.0 + gap_s * k / (between + 1) for k in range(1, between + 1)), second_s + 1.0)
    return Scenario(
        name="passes",
        satellites=(
            Satellite(
                name="S",
                model=str(COMPACT),
                accept_confidence=0.9,
                profile=profile,
                frames=read_frames(FIRST_LIGHT, captures_s),
            ),
        ),
        stations=(GroundStation(name="G", model=str(COMPACT), profile=profile),),
        links=(Link(satellite="S", station="G", follows=folder / "pass.csv"),),
        skip_idle=skip,
        grace_s=2.0,
    )


def events_of(outcome: Outcome) -> list[EventRecord]:
    return [EventRecord.from_line(line) for line in outcome.folder.events.read_text().splitlines()]


class AtJumps(Progress):
    """Calls something after each jump with the scenario time that it led to."""

    def __init__(self, act: Callable[[float], None]) -> None:
        self._act = act
        self.ended: str | None = None

    def event(self, record: EventRecord) -> None:
        super().event(record)
        if isinstance(record.event, TimeJumped):
            self._act(record.event.to_s)
        if isinstance(record.event, SkippingEnded):
            self.ended = record.event.reason


def run(made: Scenario, folder: Path, progress: Progress | None = None) -> Outcome:
    with Footprint() as footprint:
        try:
            return run_scenario(made, folder / "runs", progress)
        finally:
            assert footprint.left_behind() == {}


def test_hours_between_passes_are_skipped_and_count_in_the_latencies(tmp_path: Path) -> None:
    outcome = run(scenario(tmp_path, 3 * HOUR_S, skip=True), tmp_path)
    results = outcome.results
    assert results is not None and results.passage is not None
    assert [frame.answered for frame in results.frames] == [True] * 4
    assert results.passage.real_s < 20
    assert results.passage.scenario_s > 3 * HOUR_S
    assert results.passage.skipped_s > 3 * HOUR_S - 60
    assert results.passage.ended is None
    between = results.frames[2]
    assert between.end_to_end_s == pytest.approx(1.5 * HOUR_S, rel=0.01)
    assert between.latency is not None
    assert between.latency.total_s == pytest.approx(between.end_to_end_s, rel=0.01)
    assert between.latency.contact_wait_s == pytest.approx(1.5 * HOUR_S, rel=0.01)
    assert "times as fast as real time" in outcome.folder.report.read_text()


@pytest.mark.light
@pytest.mark.long
def test_answers_and_latencies_are_those_without_skipping(tmp_path: Path) -> None:
    with Starvation() as starvation:
        whole, skipped = (run(scenario(tmp_path, 4.0, skip=skip), tmp_path).results for skip in (False, True))
    assert whole is not None and skipped is not None and skipped.passage is not None
    assert whole.passage is None and skipped.passage.jumps_s
    assert [f.answer for f in whole.frames] == [f.answer for f in skipped.frames]
    means_s = [fmean(f.end_to_end_s or 0.0 for f in found.frames) for found in (whole, skipped)]
    assert means_s[1] == pytest.approx(means_s[0], rel=0.05) or starvation.starved
    (link,) = skipped.links
    assert (link.rtt_error_s(50) or 1.0) < 1e-3 or starvation.starved


def test_what_is_killed_in_a_jump_comes_back_and_no_image_is_lost(tmp_path: Path) -> None:
    """Satellite with a probe, management broker, station and its broker die within jumps, in turn."""
    victims = [
        ("nodes/s/config.json", "logs/s-g-probe-satellite.jsonl"),
        ("logs/management.conf",),
        ("nodes/g/config.json",),
        ("logs/g-broker.conf",),
    ]
    killed = list[float]()

    def act(to_s: float) -> None:
        if len(killed) < len(victims) and to_s > HOUR_S * (len(killed) + 1) - 60:
            for argument in victims[len(killed)]:
                (path,) = tmp_path.glob(f"runs/*/{argument}")
                pids = processes_of(path)
                assert pids, argument
                for pid in pids:
                    os.kill(pid, signal.SIGKILL)
            killed.append(to_s)

    progress = AtJumps(act)
    outcome = run(scenario(tmp_path, 5 * HOUR_S, skip=True, between=4), tmp_path, progress)
    assert len(killed) == len(victims)
    assert progress.ended is None
    results = outcome.results
    assert results is not None
    assert [frame.answered for frame in results.frames] == [True] * 7
    assert {"S", "G"} <= results.absences.keys()
    assert any("probe" in name for name in results.absences)
    assert [broker.restarts for broker in results.brokers] == [1, 1]
    jumps_s = [record.event.to_s for record in events_of(outcome) if isinstance(record.event, TimeJumped)]
    assert len([to_s for to_s in jumps_s if to_s > killed[-1]]) >= 2, "the run goes on jumping"
    assert results.passage is not None and results.passage.real_s < 60


def test_a_shaper_that_is_killed_in_a_jump_ends_the_run_which_leaves_nothing(tmp_path: Path) -> None:
    killed = list[float]()

    def act(to_s: float) -> None:
        if not killed and to_s > HOUR_S:
            (shaper,) = descendants_with("testbed.network.shapers.nfqueue.process")
            os.kill(shaper, signal.SIGKILL)
            killed.append(to_s)

    with pytest.raises(ShaperDiedError, match="the nfqueue process ended"):
        run(scenario(tmp_path, 3 * HOUR_S, skip=True), tmp_path, AtJumps(act))
    assert killed
    (results,) = tmp_path.glob("runs/*/results.json")
    assert "the nfqueue process ended" in json.loads(results.read_text())["verdict"]["headline"]


def test_a_node_that_hangs_ends_the_skipping_and_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("testbed.run.clock.agreement.ANSWERS_WITHIN_S", 1.0)
    hung = list[int]()

    def act(to_s: float) -> None:
        if not hung and to_s > 4.0:
            (path,) = tmp_path.glob("runs/*/nodes/g/config.json")
            hung.extend(processes_of(path))
            os.kill(hung[0], signal.SIGSTOP)

    class GoesOn(AtJumps):
        def event(self, record: EventRecord) -> None:
            super().event(record)
            if isinstance(record.event, SkippingEnded):
                os.kill(hung[0], signal.SIGCONT)

    progress = GoesOn(act)
    outcome = run(scenario(tmp_path, 6.0, skip=True), tmp_path, progress)
    results = outcome.results
    assert results is not None and results.passage is not None
    assert progress.ended is not None and progress.ended.startswith("g did not")
    assert results.passage.ended == progress.ended
    assert any("no longer skipped: g did not" in warning for warning in results.warnings())
    assert [frame.answered for frame in results.frames] == [True] * 4


def test_a_run_that_is_stopped_in_a_jump_leaves_nothing(tmp_path: Path) -> None:
    stopped = list[float]()

    def act(to_s: float) -> None:
        if not stopped and to_s > HOUR_S:
            stopped.append(time.monotonic())
            os.kill(os.getpid(), signal.SIGTERM)

    outcome = run(scenario(tmp_path, 3 * HOUR_S, skip=True), tmp_path, AtJumps(act))
    assert outcome.results is None and outcome.exit_code == 128 + signal.SIGTERM
    assert stopped


def test_a_run_that_is_killed_in_a_jump_leaves_its_frames_on_disk_and_clean_takes_the_rest(
    tmp_path: Path,
) -> None:
    (tmp_path / "scenario.json").write_text(to_json(scenario(tmp_path, 4 * HOUR_S, skip=True, between=3)))
    spaceverse = [sys.executable, "-m", "testbed.cli.main"]
    arguments = ["run", str(tmp_path / "scenario.json"), "--output", str(tmp_path / "runs")]
    with Footprint() as footprint:
        process = subprocess.Popen(
            [*spaceverse, *arguments],
            cwd=ROOT,
            env=footprint.environment,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )

        def in_a_jump() -> bool:
            """Whether it has just jumped over two hours, with frames that wait on board."""
            texts = [path.read_text() for path in tmp_path.glob("runs/*/events.jsonl")]
            lines = [line for text in texts for line in text.splitlines(keepends=True) if '"jump"' in line]
            return any(line.endswith("\n") and json.loads(line)["to_s"] > 2 * HOUR_S for line in lines)

        wait_for(in_a_jump, "jump", 90, every_s=0.002)
        process.kill()
        process.wait()
        left = footprint.left_behind(10.0)
        assert left.keys() <= {"machine"}, "its programs end by themselves"
        assert subprocess.run([*spaceverse, "clean"], cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
        assert footprint.left_behind() == {}
    (nodes,) = tmp_path.glob("runs/*/nodes")
    outbox = Outbox(nodes / "s/outbox", "s", 1 << 16)
    first, second, waiting, *_ = read_frames(FIRST_LIGHT, (0.0,) * 3)
    assert [outbox.holds(frame.frame) for frame in (first, second, waiting)] == [True] * 3
    (item, *_) = outbox.pending(9)
    data = b"".join(item.read_chunk(index) for index in range(item.manifest.chunks))
    assert hashlib.sha256(data).digest() == item.manifest.sha256, "what waits can be sent"
