"""Two passes, hours apart: idle time is skipped, and answers and latencies are those of the whole wait."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nodes.data import FIRST_LIGHT
from nodes.models import COMPACT
from testbed import GroundStation, Link, Outcome, Satellite, Scenario, read_frames, run_scenario
from testbed.run.progress import Progress
from tests.support.footprint import Footprint
from tests.support.made_up_profile import MADE_UP

pytestmark = [pytest.mark.root]
STAGES_S = {"preprocess": 0.05, "vision": 0.2, "prefill": 0.1, "decode": 0.0}
SHORT, HOURS = (5.0,), (40.0, 3 * 3600.0)


def scenario(folder: Path, gap_s: float, *, skip: bool) -> Scenario:
    """Return a pass of 3 s, another after a gap, and frames before, in, between and after them."""
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
    captures_s = (0.2, 2.0, 4.0 + gap_s / 2, second_s + 1.0)
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


def run(folder: Path, gap_s: float, *, skip: bool, progress: Progress | None = None) -> Outcome:
    folder.mkdir(exist_ok=True)
    with Footprint() as footprint:
        outcome = run_scenario(scenario(folder, gap_s, skip=skip), folder / "runs", progress)
        assert footprint.left_behind() == {}
    return outcome


def test_hours_between_passes_are_skipped_and_count_in_the_latencies(tmp_path: Path) -> None:
    outcome = run(tmp_path, 3 * 3600.0, skip=True)
    results = outcome.results
    assert results is not None and results.passage is not None
    print(results.passage.line(), outcome.folder.path)
    assert [frame.answered for frame in results.frames] == [True] * 4
    assert results.passage.real_s < 20
    assert results.passage.scenario_s > 3 * 3600
    assert results.passage.ended is None
    between = results.frames[2]
    assert between.end_to_end_s == pytest.approx(1.5 * 3600, rel=0.01)
    assert between.latency is not None
    assert between.latency.total_s == pytest.approx(between.end_to_end_s, rel=0.01)
    assert between.latency.contact_wait_s == pytest.approx(1.5 * 3600, rel=0.01)
