"""A whole run with one emulated satellite and one board, a machine with a separate kernel, NICs and clock."""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from testbed.machine import uml
from tests.support.boards.flight import Desk, board_desk
from tests.support.boards.played_host import look, look_until, settle
from tests.support.waiting import wait_for
from traces.trace_file import read_trace

pytestmark = [
    pytest.mark.root,
    pytest.mark.alone,
    pytest.mark.skipif(uml.missing() is not None, reason=f"{uml.missing()}: {uml.FIX}"),
]
TRACE = """# spaceverse-trace 2
# satellite: {satellite}
# station: G
# start_utc: 2018-01-20T00:00:00Z
# end_s: 18.0
# made_by: a test
time_s,up,down_bit_s,up_bit_s,down_delay_s,up_delay_s,down_loss,up_loss
0.0,0,0.0,0.0,0.0,0.0,0.0,0.0
3.0,1,4000000.0,250000.0,0.006,0.006,0.0,0.0
9.0,1,2000000.0,250000.0,0.004,0.004,0.0,0.0
17.0,0,0.0,0.0,0.0,0.0,0.0,0.0
"""


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with board_desk(tmp_path) as made:
        made.write_scenario(TRACE, emulated=(1, 1, 13), board=(3, 4, 5))
        yield made


def test_a_board_flies_beside_an_emulated_satellite_whatever_is_killed(desk: Desk) -> None:
    """At random moments: the run before, the agent while it makes ready, the board in flight."""
    drawn = random.Random(seed := time.time_ns())  # noqa: S311 - printed so that a failure can be repeated
    print(f"seed {seed}")
    desk.board.wait_until_up()
    checked = desk.command(f"board check jetson-1 {desk.login}")
    assert checked.returncode == 0 and "note  board itself" not in checked.stdout, checked.stdout
    settle(desk.host)
    before = look(desk.host)
    with desk.start_run() as run:
        time.sleep(drawn.uniform(0.2, 12))
        run.kill()
        run.communicate()
    cleaned = desk.clean()
    assert cleaned.returncode == 0, cleaned.stdout + cleaned.stderr
    assert look_until(desk.host, before) == before
    with desk.start_run() as run:
        time.sleep(drawn.uniform(0, 10))
        desk.board.kill_agent()
        wait_for(lambda: len(desk.answered("FLOCK 2P-1")) == 3, "the board's three answers", 240)
        assert len(desk.answered("EMULATED")) == 2
        time.sleep(drawn.uniform(0, 1))
        desk.board.halt()
        out, said = run.communicate()
    assert run.returncode == 0, said.decode() + desk.board.log.read_text()
    assert without_carrier(look_until(desk.host, before, 1.0)) == without_carrier(before)
    results = json.loads(out)
    assert results["totals"]["answered"] == 6  # one of the emulated satellite's after the board's end
    (warning,) = (text for text in results["warnings"] if not text.startswith("links changed up to "))
    assert warning.startswith("board jetson-1 was lost at ")
    assert [link["link"] for link in results["links"]] == ["EMULATED - G", "FLOCK 2P-1 - G"]
    for link, samples in zip(results["links"], (40, 8), strict=True):
        assert link["rtt_error_p50_s"] < 1e-3
        assert link["rtt_samples"] >= samples
    judge_board(results)
    judge_clocks(results)
    folder = desk.runs()[-1]
    report = (folder / "report.html").read_text()
    assert "FLOCK 2P-1 is board jetson-1" in report and "EMULATED" in report
    played = read_trace(folder / "traces/flock-2p-1-g-compensated.csv")
    own_s = results["boards"][0]["path"]["rtt_s"] / 2
    assert played.row_at(5).down_delay_s == pytest.approx(0.006 - own_s, abs=1e-6)


def judge_board(results: dict[str, Any]) -> None:
    (record,) = results["boards"]
    assert record["board"] == "jetson-1" and record["satellite"] == "FLOCK 2P-1"
    assert 0 < record["path"]["rtt_s"] < 8e-3
    assert record["path"]["rate_bit_s"] > 1e6


def judge_clocks(results: dict[str, Any]) -> None:
    clocks = {clock["node"]: clock for clock in results["clocks"]}
    assert clocks.keys() == {"FLOCK 2P-1", "jetson-1"}  # its node's and its agent's, of one machine
    satellite, agent = clocks["FLOCK 2P-1"], clocks["jetson-1"]
    assert satellite["bound_s"] < 0.02 and satellite["worst_bound_s"] < 0.25
    assert abs(satellite["drift_ppm"] + 100) < satellite["drift_bound_ppm"]  # it is 100 ppm fast
    # Asked at moments some seconds apart, in which the clocks drift by 0.1 ms a second.
    assert abs(satellite["offset_s"] - agent["offset_s"]) < satellite["bound_s"] + agent["bound_s"] + 2e-3
    for frame in results["frames"]:
        assert sum(frame["latency"].values()) == pytest.approx(frame["end_to_end_s"], rel=0.01)
        assert (frame["clock_bound_s"] > 0) == (frame["satellite"] == "FLOCK 2P-1")


def without_carrier(shown: str) -> str:
    """The taps lose it with the board, which the run cannot undo."""
    shown = re.sub(r'"NO-CARRIER",|,"LOWER_UP"|"operstate":"\w+"|"linkdown"', "", shown)
    return re.sub(r"\s+", " ", shown)
