"""Every file in topologies/ runs by the public API alone, as in a notebook: in this process and silently."""

from __future__ import annotations

import ast
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dpkt
import numpy as np
import pytest

from nodes.contract.events import Connected, EventRecord, SendFinished, SendStarted
from testbed import Outcome, Scenario, load_scenario, run_scenario
from testbed.measure.captures import compare, read_captures
from testbed.run.plan import KEPT_MODELS, MQTT_PORT
from tests.support import ROOT
from tests.support.footprint import Footprint
from tests.support.short_run import shortened, with_kept_answers
from traces import read_trace

FILES = sorted(path for path in (ROOT / "topologies").glob("*.py") if path.name != "__init__.py")
# Seconds that are left out at the beginning of each pass, and seconds that are run.
PARTS_S = {
    "dove_pass": (16, 20),
    "disaster": (18, 18),
    "dishes": (25, 18),
    "dove_fleet": (75, 20),
    "handover": (0, 18),
    "relay": (0, 24),
    "starlink_replay": (0, 16),
    "two_stations": (20, 50),
    "walker_ring": (0, 12),
}
OWN_MODELS = {
    "dove_pass"
}  # started by the run, and asked for each answer; the others share models and answers
# By tests/integration/network/test_three_hosts.py (a Mininet script), boards/test_two_boards.py,
# and test_dove_day.py and test_power.py beside this file.
TESTED_ELSEWHERE = {"three_hosts", "two_boards", "dove_day", "six_u_day"}
CAPTURED = "FLOCK 2P-1 - Svalbard"
PUBLIC = {"testbed", "traces", "nodes", "nodes.policies"}


@pytest.fixture
def footprint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Footprint]:
    with Footprint() as made:
        monkeypatch.setenv(made.mark_name, made.environment[made.mark_name])
        yield made


def test_every_topology_is_run_by_a_test() -> None:
    assert {path.stem for path in FILES} == PARTS_S.keys() | TESTED_ELSEWHERE


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_topology_imports_from_the_public_api_alone(path: Path) -> None:
    imported = {
        module
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for module in (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else []
        )
    }
    ours = {module for module in imported if module.partition(".")[0] in ("testbed", "traces", "nodes")}
    assert ours <= PUBLIC


@pytest.mark.long
@pytest.mark.root
@pytest.mark.parametrize("name", PARTS_S)
def test_a_topology_runs_and_answers_every_frame(
    name: str,
    tmp_path: Path,
    footprint: Footprint,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("STARLINK_RECORDING", str(made_up_recording(tmp_path)))
    caplog.set_level(logging.DEBUG, logger="testbed")
    scenario = shortened(load_scenario(ROOT / f"topologies/{name}.py"), *PARTS_S[name])
    if name == "dove_fleet":
        scenario = scenario.capturing([CAPTURED])
    if name in OWN_MODELS:
        monkeypatch.delenv(KEPT_MODELS)
    else:
        scenario = with_kept_answers(scenario)
    outcome = run_scenario(scenario, folder=tmp_path / "runs")
    assert outcome.exit_code == 0
    assert outcome.results is not None
    assert outcome.results.answered == len(scenario.frames()) + len(scenario.questions())
    if name == "dishes":
        assert {turn.satellite for turn in outcome.results.dishes} == {"FLOCK 2P-1", "FLOCK 2P-12"}
        assert any(
            turn.waiting == ("FLOCK 2P-12",) or "got the dish" in turn.ended
            for turn in outcome.results.dishes
        )
    assert outcome.folder.path.parent == tmp_path / "runs"
    written = json.loads(outcome.folder.results.read_text())
    assert written == json.loads(json.dumps(outcome.results.to_json()))
    assert outcome.folder.report.exists()
    assert capfd.readouterr() == ("", "")  # progress=None prints nothing
    assert footprint.left_behind() == {}
    for text in ("network namespace sky created", "with shaper", "listens on", "process", "model loaded in"):
        assert text in caplog.text
    assert "late: down" in caplog.text  # each change of a link
    CHECKS.get(name, lambda _: None)(outcome)


HANDOVERS_S = (4, 9)


def made_up_recording(folder: Path) -> Path:
    """A probe every 0.2 s: the delay jumps at 4 s, and again at 9 s, after 1.5 s without an answer."""
    path = folder / "starlink.csv"
    with path.open("w") as file:
        file.write("timestamp,rtt,uplink,downlink\n")
        for number in range(85):
            jumps = sum(number / 5 >= time_s for time_s in HANDOVERS_S)
            one_way_ms = 20 + 10 * jumps + number % 7 / 10
            lost = 9 <= number / 5 < 10.5
            values = (0, 0, -1) if lost else (2 * one_way_ms, one_way_ms, one_way_ms)
            file.write(f"{1705744800_000000000 + number * 200_000_000},{','.join(map(str, values))}\n")
    return path


def images_outlast_the_handovers_of_the_recording(outcome: Outcome) -> None:
    assert outcome.results is not None
    played = read_trace(next(outcome.folder.path.glob("traces/*.csv")))
    assert [played.row_at(time_s).down_delay_s for time_s in (3, 8, 12)] == pytest.approx(
        [0.0203, 0.0303, 0.0403], abs=4e-4
    )
    records = [EventRecord.from_line(line) for line in outcome.folder.events.read_text().splitlines()]
    spans = [
        tuple(r.time_s or 0.0 for r in records if isinstance(r.event, kind) and r.event.frame == frame.frame)
        for frame in outcome.results.frames
        for kind in (SendStarted, SendFinished)
    ]
    for handover_s in HANDOVERS_S:
        assert any(
            begun[0] < handover_s < ended[-1] for begun, ended in zip(spans[::2], spans[1::2], strict=True)
        ), f"no image was in transfer at {handover_s} s"


def an_image_goes_over_to_the_next_station(outcome: Outcome) -> None:
    """One image was begun over Svalbard and ended over Tromso, in one session; nothing was sent twice."""
    assert outcome.results is not None
    records = [EventRecord.from_line(line) for line in outcome.folder.events.read_text().splitlines()]
    sessions = [r for r in records if isinstance(r.event, Connected) and r.node == "FLOCK 2P-1"]
    assert len(sessions) == 1
    assert ("Svalbard", "Tromso") in [frame.via for frame in outcome.results.frames]
    sent = [r.event for r in records if isinstance(r.event, SendFinished)]
    assert [event.resent_chunks for event in sent] == [0] * 4
    (loss,) = [loss for loss in outcome.results.losses if loss.link == "FLOCK 2P-1 - Svalbard"]
    assert loss.inside + loss.late <= 5  # of the link's own probe; nine or ten where the route changes at LOS


def a_satellite_relays_through_one_and_then_through_two(outcome: Outcome) -> None:
    assert outcome.results is not None
    ways = {frame.via for frame in outcome.results.frames if frame.satellite == "FLOCK 3P-50"}
    assert ("FLOCK 3P-52", "Svalbard") in ways
    assert ("FLOCK 3P-52", "Svalbard", "FLOCK 2P-1") in ways
    assert {frame.bytes_sent > 0 for frame in outcome.results.frames} == {True}


def a_question_waits_for_the_pass_and_the_urgent_images_go_first(outcome: Outcome) -> None:
    assert outcome.results is not None
    (asked,) = outcome.results.tasks
    records = [EventRecord.from_line(line) for line in outcome.folder.events.read_text().splitlines()]
    own = [record for record in records if record.node == asked.satellite]
    risen_s = next(record.time_s or 0.0 for record in own if isinstance(record.event, Connected))
    assert asked.asked_s == 4 and asked.time is not None and asked.received_s is not None
    assert 4 < risen_s < asked.received_s
    assert asked.time.total_s == pytest.approx(asked.asking_to_answer_s)
    assert asked.time.wait_up_s == pytest.approx(risen_s - 4, abs=0.2)
    sent = [record.event.frame for record in own if isinstance(record.event, SendStarted)]
    assert {"e0080", "e0077"} == set(sent[:2]), "the other images have no deadline"


def both_ends_of_a_link_are_captured(outcome: Outcome) -> None:
    """Another program reads the captures, and most packets are in both."""
    assert outcome.results is not None
    ends = [outcome.folder.captures / f"flock-2p-1-svalbard/{end}.pcap" for end in ("flock-2p-1", "svalbard")]
    for path in ends:
        with path.open("rb") as file:
            capture = dpkt.pcap.Reader(file)
            assert capture.datalink() == dpkt.pcap.DLT_EN10MB
            packets = [dpkt.ethernet.Ethernet(octets) for _, octets in capture]
        ports = {packet.data.data.dport for packet in packets if isinstance(packet.data.data, dpkt.tcp.TCP)}
        assert MQTT_PORT in ports
    ways = compare(*read_captures(*ends))
    for crossed in ways.values():
        assert len(crossed.frames) > 20
        assert crossed.lost < len(crossed.frames) / 10
    down, asked = ways["down"].one_way_s, outcome.results.links[0].down_delay
    assert np.median(down) >= min(sample.requested for sample in asked)


CHECKS = {
    "dove_fleet": both_ends_of_a_link_are_captured,
    "disaster": a_question_waits_for_the_pass_and_the_urgent_images_go_first,
    "starlink_replay": images_outlast_the_handovers_of_the_recording,
    "relay": a_satellite_relays_through_one_and_then_through_two,
    "handover": an_image_goes_over_to_the_next_station,
}


# All imports come before root is given up: the checkout may be in a folder that only root can enter.
AS_NOBODY = """
import os, pathlib, sys
import testbed.run.run
from testbed import TestbedError, load_scenario, run_scenario
scenario = load_scenario(pathlib.Path(sys.argv[1]))
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    run_scenario(scenario, folder=pathlib.Path(sys.argv[2]))
except TestbedError as error:
    print(error)
    sys.exit(error.exit_code)
"""


def test_without_root_it_is_an_error_with_an_exit_code(tmp_path: Path) -> None:
    command = [sys.executable, "-c", AS_NOBODY, str(FILES[0]), str(tmp_path / "runs")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "needs root" in done.stdout, done.stderr
    assert done.returncode == 2
    assert not (tmp_path / "runs").exists()


def test_a_topology_is_a_script_with_the_options_of_run(capsys: pytest.CaptureFixture[str]) -> None:
    from testbed import run_as_script

    def scenario() -> Scenario:
        """Run nothing."""
        raise AssertionError

    with pytest.raises(SystemExit) as ended:
        run_as_script(scenario, ["--help"])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert "Run nothing. Needs root." in printed
    assert "--shaper" in printed
    assert "--log-file" in printed
    assert run_as_script(scenario, ["--shaper", "none"]) == 2
    assert "invalid choice: 'none'" in capsys.readouterr().err
    assert sys.argv  # the arguments of the process are only the default
