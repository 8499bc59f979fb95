"""Kills of the run, the board's agent and the board at random moments.

The host's addresses, routes, links, rules and settings are afterwards what they were, to the last byte
(after `spaceverse clean` where the run was killed), and the other satellite goes on.

Not collected by itself: in CI test_board_run.py kills each once. Twenty of each take some 40 minutes, and
may be split by kind (-k) and by seed:

    sudo KILLS=20 SEED=1 .venv/bin/python -m pytest -s tests/integration/boards/kills.py
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from testbed.machine import uml
from tests.support.boards.flight import BOARD_SATELLITE, EMULATED, Desk, board_desk
from tests.support.boards.played_host import look, look_until, settle
from tests.support.footprint import Footprint
from tests.support.waiting import wait_for

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(uml.missing() is not None, reason=f"{uml.missing()}: {uml.FIX}"),
]
KILLS = int(os.environ.get("KILLS", "20"))
SEED = int(os.environ.get("SEED", "20261125"))
CONTACT_S = 1.0
GAP_S = (2.0, 7.0)  # between two deaths of an agent in one run
DEATHS_IN_A_RUN = 7
KILLING_S = 9.0  # to log in for it, and to look at the host before and after
RECOVERY_S = 60.0  # a node on the stand-in takes 10 to 40 s to load its model
EMULATED_FRAMES = 12  # spread over a pass in which agents die
RUN_WITHIN_S = 240.0
BUILDING_S = 22.0  # until all models are loaded
FLIGHT_S = 10.0  # of runs in which one thing is killed
TRACE = """# spaceverse-trace 2
# satellite: {{satellite}}
# station: G
# start_utc: 2018-01-20T00:00:00Z
# end_s: {end_s}
# made_by: a test
time_s,up,down_bit_s,up_bit_s,down_delay_s,up_delay_s,down_loss,up_loss
0.0,0,0.0,0.0,0.0,0.0,0.0,0.0
{contact_s},1,4000000.0,250000.0,0.03,0.03,0.0,0.0
{los_s},0,0.0,0.0,0.0,0.0,0.0,0.0
"""


def trace(los_s: float) -> str:
    return TRACE.format(contact_s=CONTACT_S, los_s=los_s, end_s=los_s + 1)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with board_desk(tmp_path, real_time=False) as made:
        made.board.wait_until_up()
        settle(made.host)
        yield made


@pytest.fixture
def drawn(request: pytest.FixtureRequest) -> random.Random:
    return random.Random(f"{SEED} {request.node.name}")  # noqa: S311 - seeded so that a failure can be repeated


def finish(desk: Desk, run: subprocess.Popen[bytes]) -> tuple[dict[str, Any] | None, str]:
    """(its results if it gave any, what it said)."""
    out, said = run.communicate(timeout=RUN_WITHIN_S)
    text = said.decode()
    assert "Traceback" not in text, text
    return (json.loads(out) if out.strip() else None), text


def fly(desk: Desk) -> None:
    """A whole run that nothing happens to."""
    with desk.start_run() as run:
        results, said = finish(desk, run)
    assert run.returncode == 0 and results is not None, said + desk.board.log.read_text()
    assert results["totals"]["answered"] == results["totals"]["frames"]
    # The node of a run that was killed may still try to come back, with a password that was that run's.
    assert [w for w in results["warnings"] if "management: refused login" not in w] == []


def wait_until_it_flies(desk: Desk, run: subprocess.Popen[bytes], begun: int) -> None:
    """Until the run, the next after `begun` others, has begun to play its links."""

    def flies() -> bool:
        return len(desk.runs()) > begun and stage(desk) != "loading"

    wait_for(lambda: run.poll() is not None or flies(), "start of the run", RUN_WITHIN_S)
    assert run.poll() is None, finish(desk, run)


def wait_for_a_moment(desk: Desk, run: subprocess.Popen[bytes], drawn: random.Random, number: int) -> str:
    """Odd ones while the run flies, even ones while it is built and loads; returns which, in words."""
    begun = len(desk.runs())
    if number % 2 == 0:
        moment_s = drawn.uniform(0.2, BUILDING_S)
        time.sleep(moment_s)
    else:
        moment_s = drawn.uniform(0, FLIGHT_S)
        wait_until_it_flies(desk, run, begun)
        time.sleep(moment_s)
    assert run.poll() is None, finish(desk, run)
    when = stage(desk) if len(desk.runs()) > begun else "before its folder"
    print(f"{when}, {moment_s:.2f} s", flush=True)
    return when


def stage(desk: Desk) -> str:
    """How far the latest run has come."""
    links = [event["up"] for event in desk.events() if event["event"] == "link"]
    if not links:
        return "loading"
    return "in contact" if links[-1] else "after the contact" if any(links) else "started"


def test_the_run_is_killed(desk: Desk, drawn: random.Random) -> None:
    desk.write_scenario(trace(FLIGHT_S), emulated=(2, 3), board=(1, 4))
    before = look(desk.host)
    killed: Counter[str] = Counter()
    for number in range(KILLS):
        with Footprint() as footprint:
            with desk.start_run(footprint.environment) as run:
                killed[wait_for_a_moment(desk, run, drawn, number)] += 1
                run.kill()
                run.communicate()
            cleaned = desk.clean()
            assert cleaned.returncode == 0, cleaned.stdout + cleaned.stderr
            assert look_until(desk.host, before) == before
            assert not list((desk.folder / "state/journal").glob("*.jsonl"))
            assert footprint.left_behind() == {}
    fly(desk)  # nothing has worn out, here or on the board
    assert look_until(desk.host, before) == before
    print(json.dumps({"run killed": killed}))


def test_the_agent_is_killed(desk: Desk, drawn: random.Random) -> None:
    before = look(desk.host)
    killed: Counter[str] = Counter()
    left = KILLS
    while left > 0:
        deaths = min(left, DEATHS_IN_A_RUN)
        left -= deaths
        gaps_s = [drawn.uniform(*GAP_S) for _ in range(deaths)]
        # The first comes while everything is made ready, which takes some 15 s; the others during the pass.
        los_s = sum(gaps_s[1:]) + (deaths - 1) * KILLING_S + RECOVERY_S
        emulated = tuple(1 + (los_s - 6) * number / EMULATED_FRAMES for number in range(EMULATED_FRAMES))
        desk.write_scenario(trace(los_s), emulated=emulated, board=(1, los_s / 3, los_s / 2))
        begun = len(desk.runs())
        with desk.start_run() as run:
            time.sleep(drawn.uniform(0, 15))
            for number, gap_s in enumerate(gaps_s):
                if number > 0:
                    wait_until_it_flies(desk, run, begun)
                    time.sleep(gap_s)
                assert run.poll() is None, finish(desk, run)
                attached = look(desk.host)
                killed[stage(desk)] += 1
                print(stage(desk), flush=True)
                while not desk.board.kill_agent():  # it was just dead
                    time.sleep(0.5)
                if number > 0 and stage(desk) == "in contact":  # its end changes what is attached
                    assert look(desk.host) == attached
            results, said = finish(desk, run)
        assert results is not None, said
        assert look_until(desk.host, before) == before
        judge(desk, results, len(emulated))
        assert results["totals"]["answered"] == results["totals"]["frames"], "the board's own went on, too"
        assert run.returncode == 0
        assert deaths == 1 or any(
            "board jetson-1 was absent from" in warning for warning in results["warnings"]
        )
    print(json.dumps({"agent killed": killed}))


def test_the_board_is_halted(desk: Desk, drawn: random.Random) -> None:
    alive = look(desk.host)
    halted = None
    desk.write_scenario(trace(FLIGHT_S), emulated=(1, 3, 6), board=(2, 4))
    killed: Counter[str] = Counter()
    for number in range(KILLS):
        with desk.start_run() as run:
            killed[wait_for_a_moment(desk, run, drawn, number)] += 1
            desk.board.halt()
            results, said = finish(desk, run)
        if results is None:  # it had not begun: then a run without its board is none
            assert run.returncode in (1, 2) and "jetson-1" in said, said
        else:
            judge(desk, results, 3)
        shown = look_until(desk.host, halted or look(desk.host))
        halted = halted or shown
        assert shown == halted
        desk.board.switch_on()
        desk.board.wait_until_up()
        assert look_until(desk.host, alive) == alive
    fly(desk)
    print(json.dumps({"board halted": killed}))


def judge(desk: Desk, results: dict[str, Any], emulated: int) -> None:
    """The other satellite has all its answers, its link was what it was to be, and there is a report."""
    assert len(desk.answered(EMULATED)) == emulated
    link = next(link for link in results["links"] if link["link"].startswith(EMULATED))
    assert link["rtt_samples"] > 20 and link["rtt_error_p50_s"] < 1e-3
    assert BOARD_SATELLITE in (desk.runs()[-1] / "report.html").read_text()
