"""Whole runs of a small scenario: real hosts, links, brokers, programs and models."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from nodes.contract.events import EventRecord
from nodes.data import EO_MINI, FIRST_LIGHT
from nodes.models import COMPACT, REGULAR
from testbed.boards.machine_network.journal import DEFAULT_STATE
from testbed.scenario.file import load_scenario
from testbed.scenario.model import to_json
from tests.support import ROOT
from tests.support.container_image import image_layout, root_filesystem
from tests.support.footprint import Footprint
from tests.support.injected_run import processes_of
from tests.support.live_page import OTHER_TOKEN, LivePage, page_told_by
from tests.support.waiting import wait_for
from traces.trace_file import read_trace

pytestmark = pytest.mark.root
TRACE = """# spaceverse-trace 2
# satellite: S
# station: G
# start_utc: 2018-01-20T00:00:00Z
# end_s: 26.0
# made_by: a test
time_s,up,down_bit_s,up_bit_s,down_delay_s,up_delay_s,down_loss,up_loss
0.0,0,0.0,0.0,0.0,0.0,0.0,0.0
4.0,1,4000000.0,250000.0,0.006,0.006,0.0,0.0
14.0,1,2000000.0,250000.0,0.004,0.004,0.0,0.0
22.0,0,0.0,0.0,0.0,0.0,0.0,0.0
"""
SCENARIO = """
from pathlib import Path
from testbed.scenario.model import GroundStation, Link, Satellite, Scenario, read_frames

def scenario():
    return Scenario(
        name="small",
        satellites=(
            Satellite(
                name="S",
                model={compact!r},
                accept_confidence={accept},
                frames=read_frames(Path({frames!r}), (1, 2, 6, 9)),
            ),
        ),
        stations=(GroundStation(name="G", model={regular!r}, programs={programs!r}),),
        links=(Link(satellite="S", station="G", follows=Path({trace!r})),),
        shaper={shaper!r},
        {extra}
    )
"""


@pytest.fixture
def footprint() -> Iterator[Footprint]:
    with Footprint() as made:
        yield made


def write_scenario(
    folder: Path,
    *,
    shaper: str = "auto",
    accept: float | str = 0.75,
    extra: str = "",
    trace: str = TRACE,
    programs: Sequence[dict[str, object]] = (),
    **changes: str,
) -> Path:
    (folder / "pass.csv").write_text(trace)
    parts = {"compact": str(COMPACT), "regular": str(REGULAR), "frames": str(FIRST_LIGHT)} | changes
    path = folder / "small.py"
    path.write_text(
        SCENARIO.format(
            trace=str(folder / "pass.csv"),
            shaper=shaper,
            accept=accept,
            extra=extra,
            programs=tuple(programs),
            **parts,
        )
    )
    return path


def command(scenario: Path, folder: Path, *options: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "testbed.cli.main",
        "run",
        str(scenario),
        "--output",
        str(folder / "runs"),
        *options,
    ]


@pytest.mark.long
def test_a_run_answers_every_frame_and_says_where_the_time_went(tmp_path: Path, footprint: Footprint) -> None:
    scenario = write_scenario(tmp_path, accept=0.9)
    process = subprocess.Popen(
        command(scenario, tmp_path, "--json", "--live"),
        cwd=ROOT,
        env=footprint.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    said: list[str] = []
    assert process.stderr is not None and process.stdout is not None
    page = page_told_by(process.stderr, said)
    page.connect()
    pictures = {name: page.ask(f"/pictures/{name}") for name in ("e0001", "nothing")}
    described = page.ask("/run.json")
    printed = process.stdout.read()
    assert process.wait(30) == 0, said
    results = json.loads(printed)
    assert results["totals"]["answered"] == 4
    assert [text for text in results["warnings"] if not text.startswith("links changed up to ")] == []
    for frame in results["frames"]:
        assert sum(frame["latency"].values()) == pytest.approx(frame["end_to_end_s"], rel=0.01)
        assert min(frame["latency"].values()) > -1e-3
        by_ground = frame["answered_by"] == "ground"
        assert (frame["latency"]["ground_inference_s"] > 0) == by_ground
        size = (EO_MINI / f"{frame['frame']}.jpg").stat().st_size
        assert (frame["bytes_sent"] >= size) == by_ground
    early = results["frames"][0]
    assert early["latency"]["contact_wait_s"] > 1.5  # taken at 1 s, contact from 4 s
    link = results["links"][0]
    assert link["rtt_error_p50_s"] < 1e-3
    assert link["rtt_samples"] > 20
    assert abs(link["down_rate_error"]) < 0.1

    (folder,) = (tmp_path / "runs").iterdir()
    assert json.loads((folder / "results.json").read_text()) == results
    assert len(list((folder / "traces").iterdir())) == 1
    assert read_trace(tmp_path / "pass.csv").end_s == 26
    report = (folder / "report.html").read_text()
    assert report.count("<svg") == 2  # no ground track: the trace is a recording
    records = [EventRecord.from_line(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    names = {record.name for record in records}
    assert {"ready", "captured", "link", "connected", "answered"} <= names
    assert "malformed" not in names, "a node reports what is not declared"
    assert footprint.left_behind() == {}
    check_page(page, described, pictures)


def check_page(page: LivePage, described: dict[str, Any], pictures: dict[str, bytes | None]) -> None:
    """Check what the live page was told: contacts within 1 s of the trace, and the way of each frame."""
    start_s = next(at_s - one["time_s"] for at_s, one in page.heard if one.get("phase") == "running")
    changes = {
        one["up"]: at_s - start_s
        for at_s, one in page.heard
        if one.get("event") == "link" and one["time_s"] > 0
    }
    assert changes == {True: pytest.approx(4, abs=1), False: pytest.approx(22, abs=1)}
    kinds = {one.get("event") for _, one in page.heard}
    assert {"ready", "captured", "inference_finished", "send_started", "answered"} <= kinds
    assert page.heard[-1][1]["phase"] == "ended"
    (link,) = described["links"]
    assert link["contacts"] == [[4, 22]]
    assert [frame["prompt"] for frame in described["frames"]]
    shown, unknown = pictures.values()
    assert shown is not None and shown.startswith(b"\xff\xd8") and unknown is None


TWO_STATIONS = """
from pathlib import Path
from testbed.scenario.model import GroundStation, Link, Satellite, Scenario, read_frames

def scenario():
    return Scenario(
        name="two",
        satellites=(
            Satellite(
                name="S",
                model={compact!r},
                accept_confidence=1.0,
                frames=read_frames(Path({frames!r}), (1, 1, 1, 2)),
            ),
        ),
        stations=(GroundStation(name="G", model={regular!r}), GroundStation(name="H", model={regular!r})),
        links=(
            Link(satellite="S", station="G", follows=Path({first!r})),
            Link(satellite="S", station="H", follows=Path({second!r})),
        ),
        tls=True,
    )
"""


@pytest.mark.long
def test_images_begun_at_one_station_end_at_another_over_tls(tmp_path: Path, footprint: Footprint) -> None:
    rows = TRACE.split("0.0,0,0.0", maxsplit=1)[0]
    off, on = "{},0,0.0,0.0,0.0,0.0,0.0,0.0\n", "{},1,160000.0,250000.0,0.006,0.006,0.0,0.0\n"
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    first.write_text(rows + off.format(0.0) + on.format(4.0) + off.format(10.0))
    second.write_text(rows + off.format(0.0) + on.format(8.0).replace("160000", "1600000") + off.format(18.0))
    path = tmp_path / "two.py"
    path.write_text(
        TWO_STATIONS.format(
            compact=str(COMPACT),
            regular=str(REGULAR),
            frames=str(FIRST_LIGHT),
            first=str(first),
            second=str(second),
        )
    )
    done = subprocess.run(
        command(path, tmp_path, "--json"),
        cwd=ROOT,
        env=footprint.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    assert results["totals"]["answered"] == 4
    (folder,) = (tmp_path / "runs").iterdir()
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    begun = {e["frame"]: e["node"] for e in events if e["event"] == "received_first"}
    ended = {e["frame"]: e["node"] for e in events if e["event"] == "received"}
    assert any(begun[frame] == "G" and ended[frame] == "H" for frame in ended)
    assert {e["station"] for e in events if e["event"] == "connected" and e["node"] == "S"} == {"G", "H"}
    for frame in results["frames"]:
        assert frame["station"] == ended[frame["frame"]]
        assert sum(frame["latency"].values()) == pytest.approx(frame["end_to_end_s"], rel=0.01)
        assert min(frame["latency"].values()) > -1e-3
    ends = [e["frame"] for e in events if e["event"] == "answered"]
    assert sorted(ends) == sorted(set(ends))
    assert footprint.left_behind() == {}


def brokers_below(folder: Path) -> list[int]:
    """Process ids of the brokers whose configuration lies in `folder`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = path.read_bytes().decode(errors="replace").split("\0")
            if words[0].endswith("mosquitto") and str(folder) in words[2]:
                found.append(int(path.parent.name))
    return found


@pytest.mark.long
def test_a_run_outlives_its_brokers(tmp_path: Path, footprint: Footprint) -> None:
    process = subprocess.Popen(
        command(
            write_scenario(tmp_path, accept=1.0, trace=TRACE.replace("\n22.0,0", "\n16.0,0")),
            tmp_path,
            "--json",
        ),
        cwd=ROOT,
        env=footprint.environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_for(lambda: was_told(tmp_path, "send_started"), "first transfer", 90)
    killed = brokers_below(tmp_path)
    assert len(killed) == 2  # the station's and the management plane's
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    results = json.loads(process.communicate(timeout=90)[0])
    assert results["totals"]["answered"] == 4, results["warnings"]
    assert [broker["restarts"] for broker in results["brokers"]] == [1, 1]
    assert [broker["refusals"] for broker in results["brokers"]] == [{}, {}]
    assert sum("restarted 1 times" in warning for warning in results["warnings"]) == 2
    assert process.returncode == 0
    assert footprint.left_behind() == {}


def was_told(folder: Path, event: str) -> bool:
    """Whether the run below `folder` has recorded an event of this kind."""
    return any(f'"{event}"' in path.read_text() for path in folder.glob("runs/*/events.jsonl"))


@pytest.mark.usefixtures("models_of_all_runs")
def test_a_run_is_compared_with_another_policy(tmp_path: Path) -> None:
    always_up = "".join(
        line for line in TRACE.splitlines(keepends=True) if not line.startswith(("0.0", "14.0"))
    )
    trace = always_up.replace("\n4.0,", "\n0.0,")
    path = write_scenario(tmp_path, trace=trace, extra="probe=False, skip_idle=True,")
    printed = subprocess.check_output(
        command(path, tmp_path, "--compare", "ground-only"), cwd=ROOT, text=True, stderr=subprocess.PIPE
    )
    made = {path.parent.name.partition("-")[2]: path for path in tmp_path.glob("runs/*/results.json")}
    own, other = (json.loads(made[name].read_text()) for name in ("small", "small-ground-only"))
    assert own["totals"]["answered"] == other["totals"]["answered"] == 4
    assert own["totals"]["answered_on_board"] > 0 == other["totals"]["answered_on_board"]
    table = printed[printed.index("the same frames under each policy") :]
    rows = {words[0]: words[1:] for line in table.splitlines() if (words := line.split())}
    for policy, results in (("offload-after", own), ("ground-only", other)):
        assert rows[policy][:2] == ["4", str(results["totals"]["answered_on_board"])]
    assert "of the 4 of 4 frames that all answered" in table


def test_a_run_can_be_repeated_from_its_own_folder_and_stopped_from_its_page(tmp_path: Path) -> None:
    path = write_scenario(tmp_path, extra="probe=False,")
    (tmp_path / "scenario.json").write_text(to_json(load_scenario(path)))
    process = subprocess.Popen(
        command(tmp_path / "scenario.json", tmp_path, "--live"),
        cwd=ROOT,
        start_new_session=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    page = page_told_by(process.stdout, [])
    wait_for(lambda: any(tmp_path.glob("runs/*/events.jsonl")), "event", 60)
    assert page.status("/stop", token=OTHER_TOKEN, method="POST") == 403
    assert process.poll() is None
    page.ask("/stop", method="POST")
    assert process.wait(20) == 130
    assert list(tmp_path.glob("runs/*/events.jsonl"))
    (results,) = tmp_path.glob("runs/*/results.json")
    assert "stopped by the live page" in results.read_text()


@pytest.mark.parametrize("attempt", range(10))
def test_a_run_stopped_at_any_moment_leaves_nothing(
    tmp_path: Path, footprint: Footprint, attempt: int
) -> None:
    image = root_filesystem(tmp_path / "root")
    scenario = write_scenario(tmp_path, programs=[staying(image, tmp_path)])
    rng = random.Random(attempt)  # noqa: S311 - moments, not secrets; seeded so that a failure can be repeated
    number = rng.choice([signal.SIGINT, signal.SIGTERM])
    moment_s = rng.uniform(0.6, 14)
    process = subprocess.Popen(
        command(scenario, tmp_path),
        cwd=ROOT,
        env=footprint.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    time.sleep(moment_s)
    assert process.poll() is None, process.communicate()[0]
    os.kill(process.pid, number)
    said = process.communicate(timeout=20)[0]
    assert process.returncode == 128 + number or (process.returncode < 0 and not said), said
    assert "Traceback" not in said
    assert footprint.left_behind() == {} and processes_of(tmp_path) == []


def staying(image: Path, mark: Path) -> dict[str, object]:
    """Return a container that stays until it is ended, and has `mark` among its arguments."""
    return {"name": "stays", "image": str(image), "command": ["/act", "stay", str(mark)]}


def test_a_run_killed_with_sigkill_leaves_only_its_folders_and_clean_takes_those(
    tmp_path: Path, footprint: Footprint
) -> None:
    layout = image_layout(tmp_path / "layout", root_filesystem(tmp_path / "root"))
    process = subprocess.Popen(
        command(write_scenario(tmp_path, programs=[staying(layout, tmp_path)]), tmp_path),
        cwd=ROOT,
        env=footprint.environment,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    wait_for(lambda: was_told(tmp_path, "link"), "change of a link", 60)
    wait_for(lambda: processes_of(tmp_path), "container", 10)
    (sockets,) = Path("/run").glob(f"spaceverse-{process.pid}-*")
    (images,) = DEFAULT_STATE.glob(f"images/spaceverse-{process.pid}-*")
    clean = [sys.executable, "-m", "testbed.cli.main", "clean"]
    assert str(sockets) not in subprocess.check_output(clean, cwd=ROOT, env=footprint.environment, text=True)
    process.kill()
    process.wait()
    assert footprint.left_behind() == {"machine": [f"folder {sockets}", f"folder {images}"]}
    assert processes_of(tmp_path) == []
    listed = subprocess.run([*clean, "--list"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (listed.returncode, f"{sockets}: folder of a run that has ended" in listed.stdout) == (1, True)
    removed = subprocess.check_output(clean, cwd=ROOT, text=True)
    assert f"{sockets}: removed\n" in removed and f"{images}: removed\n" in removed
    assert footprint.left_behind() == {}


def one_line_of_error(arguments: list[str], **options: object) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False, **options
    )  # type: ignore[call-overload]
    assert done.returncode == 2, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert "Traceback" not in done.stderr
    return str(last)


def test_bad_input_gets_one_line_and_exit_code_2(tmp_path: Path) -> None:
    def error_of(**changes: str) -> str:
        line = one_line_of_error(command(write_scenario(tmp_path, **changes), tmp_path)[1:])
        assert list(tmp_path.glob("runs/*")) == []
        return line

    assert "unknown field 'shapper'" in error_of(extra="shapper='netem',")
    assert "has no parameter shares; its parameters: accept_confidence" in error_of(
        accept="None, policy_parameters={'shares': [0.1]}"
    )
    assert "did you mean spaceverse" in error_of(accept="None, policy='spaceverze'")
    assert "not-a-model" in error_of(compact=str(tmp_path / "not-a-model"))
    assert "no contact" in error_of(trace=TRACE.replace(",1,", ",0,"))
    assert "pass.csv" in error_of(trace=TRACE.replace("down_delay_s", "down_delay_ms"))
    assert "no scenario file" in one_line_of_error(
        ["-m", "testbed.cli.main", "run", str(tmp_path / "nowhere.py")]
    )
    arguments = command(write_scenario(tmp_path), tmp_path)[1:]
    assert "choose another --output" in one_line_of_error(
        [*arguments, "--output", str(tmp_path / "pass.csv")]
    )


def test_an_orbit_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    text = (ROOT / "topologies/dove_pass.py").read_text()
    path = tmp_path / "bad.py"

    def error_of(old: str, new: str) -> str:
        assert old in text
        path.write_text(text.replace(old, new))
        return one_line_of_error(command(path, tmp_path)[1:])

    assert "did you mean FLOCK 2P" in error_of('"FLOCK 2P-1"', '"FLOCK 2P-l"')
    assert "did you mean Svalbard" in error_of('"Svalbard"', '"Svalbad"')
    assert "out of range" in error_of('name="Svalbard",', 'name="Svalbard", place="98,15,0",')
    broken = tmp_path / "broken.tle"
    broken.write_text("FLOCK 2P-1\n" + _with_wrong_checksum())
    line = error_of("elements=FLOCK_TLE", f"elements=Path({str(broken)!r})")
    assert "checksum" in line
    assert "broken.tle" in line


def _with_wrong_checksum() -> str:
    lines = (ROOT / "traces/orbits/data/flock-2018-01.tle").read_text().splitlines()
    first = next(i for i, line in enumerate(lines) if line.strip() == "FLOCK 2P-1") + 1
    digit = (int(lines[first][-1]) + 1) % 10
    return f"{lines[first][:-1]}{digit}\n{lines[first + 1]}\n"


def test_not_being_root_is_one_line(tmp_path: Path) -> None:
    # Everything is imported before root is given up: the checkout may lie below a closed home folder.
    become_nobody = (
        "import os; from testbed.cli.main import main;"
        "import testbed.run.run, testbed.run.progress, testbed.results.table;"
        "from testbed.scenario.file import load_scenario; from pathlib import Path;"
        "load_scenario(Path('topologies/dove_pass.py')); os.setuid(65534); raise SystemExit(main())"
    )
    line = one_line_of_error(["-c", become_nobody, "run", "topologies/dove_pass.py"])
    assert "root" in line
    assert "sudo" in line
