"""A pass of 40 s in four: latencies are those that trace and profile give in real time."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean

import pytest

from nodes.data import FIRST_LIGHT
from nodes.models import COMPACT
from testbed import GroundStation, Link, Satellite, Scenario, read_frames, run_scenario
from testbed.network.emulation import EmulatedNetwork
from testbed.results.link_time import LinkTime
from testbed.run.speed import RTO_FILE, hasten_tcp
from tests.support.footprint import Footprint
from tests.support.made_up_profile import MADE_UP
from traces.trace_file import read_trace

pytestmark = [pytest.mark.root, pytest.mark.light]
SPEED = 10
AOS_S = 12.0
STAGES_S = {"preprocess": 0.5, "vision": 4.0, "prefill": 1.5, "decode": 0.0}
ANSWER_S = sum(STAGES_S.values())
CAPTURES_S = (1, 2, 13, 20, 27)
TRACE = """# spaceverse-trace 2
# satellite: S
# station: G
# start_utc: 2018-01-20T00:00:00Z
# end_s: 44.0
# made_by: a test
time_s,up,down_bit_s,up_bit_s,down_delay_s,up_delay_s,down_loss,up_loss
0.0,0,0.0,0.0,0.0,0.0,0.0,0.0
12.0,1,1000000.0,250000.0,0.006,0.006,0.0,0.0
43.0,0,0.0,0.0,0.0,0.0,0.0,0.0
"""


def scenario(folder: Path) -> Scenario:
    stages = {name: {"p50_s": s, "p95_s": s, "count": 1} for name, s in STAGES_S.items()}
    (folder / "profile.json").write_text(json.dumps(MADE_UP | {"stages": MADE_UP["stages"] | stages}))
    (folder / "pass.csv").write_text(TRACE)
    profile = folder / "profile.json"
    return Scenario(
        name="ahead",
        satellites=(
            Satellite(
                name="S",
                model=str(COMPACT),
                accept_confidence=0.9,
                profile=profile,
                frames=read_frames(FIRST_LIGHT, CAPTURES_S),
            ),
        ),
        stations=(GroundStation(name="G", model=str(COMPACT), profile=profile),),
        links=(Link(satellite="S", station="G", follows=folder / "pass.csv"),),
        speed=SPEED,
    )


def test_a_run_ahead_of_real_time_has_the_latencies_of_real_time(tmp_path: Path) -> None:
    with Footprint() as footprint:
        outcome = run_scenario(scenario(tmp_path), tmp_path / "runs")
        assert footprint.left_behind() == {}
    results = outcome.results
    assert results is not None and results.answered == len(CAPTURES_S)
    assert results.acceleration is not None and results.acceleration.speed == SPEED

    link = LinkTime(read_trace(tmp_path / "pass.csv"))
    onboard_s = sent_s = ground_s = 0.0  # when each was last free, as they take one frame after another
    by_ground, expected_s = 0, list[float]()
    for frame, capture_s in zip(results.frames, CAPTURES_S, strict=True):
        assert frame.latency is not None and frame.end_to_end_s is not None
        onboard_s = max(capture_s, onboard_s) + ANSWER_S
        sent_s = answered_s = max(onboard_s, AOS_S, sent_s) + link.serialisation_s(frame.bytes_sent, 0, 43)
        if frame.answered_by == "ground":
            by_ground += 1
            ground_s = answered_s = max(sent_s, ground_s) + ANSWER_S
        assert frame.capture_s == pytest.approx(capture_s, abs=0.3)
        expected_s.append(answered_s - capture_s)
        assert frame.end_to_end_s == pytest.approx(expected_s[-1], rel=0.15)
        assert frame.latency.onboard_inference_s == pytest.approx(ANSWER_S, rel=0.15)
        assert frame.latency.total_s == pytest.approx(frame.end_to_end_s, rel=0.01)
    assert results.totals()["mean_end_to_end_s"] == pytest.approx(fmean(expected_s), rel=0.05)
    assert 0 < by_ground < len(CAPTURES_S)
    (record,) = results.links
    assert (record.rtt_error_s(50) or 1.0) < 0.01
    assert abs(record.rate_error(record.down_rate) or 0.0) < 0.1


def test_tcp_of_the_hosts_repeats_sooner() -> None:
    if not Path(RTO_FILE).exists():
        pytest.skip("this kernel has no tcp_rto_min_us")
    before = Path(RTO_FILE).read_text()
    with EmulatedNetwork() as network:
        hosts = [network.add_host("S"), network.add_host("G")]
        for speed, shortest_us in ((1, 200_000), (5, 40_000), (50, 10_000)):
            hasten_tcp(hosts, speed)
            assert [int(host.run(["cat", RTO_FILE]).stdout) for host in hosts] == [shortest_us] * 2
    assert Path(RTO_FILE).read_text() == before
