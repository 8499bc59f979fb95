"""Classes of faults: exit code, first line of the result and results.json agree, and the cause is named.

Bad input ends before the run, with exit code 2 and one line. One run carries all faults of single frames,
each in a frame of its own. Faults that end a run have short runs of their own.
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from nodes.contract.board import GIVEN_UP
from nodes.contract.events import Answered, Captured, Delivered, EventRecord, Ready
from nodes.models import COMPACT
from testbed.results.clock import keeping_up
from tests.support.faulty_server import faulty_server
from tests.support.footprint import Footprint
from tests.support.injected_run import (
    DOWN,
    HEADER,
    LOS_S,
    TRACE,
    UP,
    Ended,
    fill,
    picture,
    processes_of,
    run,
    scenario_of,
    small_disk,
)

pytestmark = pytest.mark.root

# Bad input: nothing is built


def _file(name: str, content: str | bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return make


def _folder_without(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        copy = folder / "model"
        shutil.copytree(COMPACT, copy)
        (copy / name).unlink()
        return copy

    return make


def _truncated_model(folder: Path) -> Path:
    copy = folder / "model"
    shutil.copytree(COMPACT, copy)
    os.truncate(copy / "model.safetensors", 100_000)
    return copy


CLASS = "class Policy:\n    {}\n    def decide(self, situation):\n        return None\n"
BAD_INPUT: dict[str, tuple[dict[str, Any], str]] = {
    "scenario of an unknown field": ({"shapper": "netem"}, "shapper"),
    "picture missing": ({"frame": {"image": "/nowhere/f.jpg"}}, "/nowhere/f.jpg"),
    "trace missing": ({"trace": None}, "pass.csv"),
    "trace without columns": ({"trace": TRACE.replace("down_delay_s", "delay_ms")}, "pass.csv"),
    "trace cut off within a row": ({"trace": TRACE[:-20]}, "pass.csv"),
    "trace without contact": ({"trace": TRACE.replace(",1,8", ",0,8")}, "no contact"),
    "threshold that is text": (
        {"satellite": {"policy": "offload-after", "accept_confidence": "high"}},
        "accept",
    ),
    "parameter that is text": (
        {"satellite": {"policy": "offload-after", "policy_parameters": {"accept_confidence": "0.9"}}},
        "accept_confidence is '0.9', not a number",
    ),
    "policy file missing": ({"satellite": {"policy": "/nowhere/p.py"}}, "/nowhere/p.py"),
    "policy that is no Python": ({"satellite": {"policy": _file("p.py", "def decide(:")}}, "SyntaxError"),
    "policy raises at construction": (
        {"satellite": {"policy": _file("p.py", CLASS.format("x = 1\n    def __init__(self): 1 / 0"))}},
        "p.py, line 3",
    ),
    "model missing": ({"satellite": {"model": "/nowhere/model"}}, "/nowhere/model"),
    "model without weights": ({"satellite": {"model": _folder_without("model.safetensors")}}, "weights"),
    "model truncated": ({"satellite": {"model": _truncated_model}}, "model.safetensors"),
    "profile that is no profile": ({"satellite": {"profile": _file("pace.json", "{}")}}, "pace.json"),
    "server address malformed": ({"stations": [{"name": "G", "model": "openai:nowhere"}]}, "openai:"),
    "output that is a file": ({"output": _file("runs-file", "")}, "choose another --output"),
}


@pytest.mark.parametrize("fault", BAD_INPUT)
def test_bad_input_is_refused_before_the_run(tmp_path: Path, fault: str) -> None:
    changes, cause = BAD_INPUT[fault]
    made = {key: _made(value, tmp_path) for key, value in changes.items()}
    output, trace = made.pop("output", None), made.pop("trace", TRACE)
    scenario = scenario_of(tmp_path, **made)
    if trace is None:
        (tmp_path / "pass.csv").unlink()
    else:
        (tmp_path / "pass.csv").write_text(trace)
    ended = run(scenario, tmp_path, output=output)
    (line,) = ended.errors.splitlines()
    assert (ended.code, ended.results) == (2, None), line
    assert line.startswith("spaceverse: error: ") and cause in line
    assert "PASSED" not in ended.output
    assert not list(tmp_path.glob("runs/*"))


def _made(value: Any, folder: Path) -> Any:
    """Call what makes files, with the test's folder."""
    if isinstance(value, dict):
        return {key: _made(inner, folder) for key, inner in value.items()}
    if callable(value):
        path = value(folder)
        return path if path.name == "runs-file" else str(path)
    return value


# Faults of single frames: one run


@dataclass(frozen=True)
class Fault:
    """What the frame of one fault is, and what names its cause."""

    prompt: str
    cause: str
    capture_s: float = 1.0
    satellite: str = "S"
    image: Callable[[Path], Path] | None = None
    answered: bool = False  # by the ground, although it failed


LINE = "policy of S, {folder}/mine.py, line "
FAULTS = {
    "policy-raises": Fault("policy raises: ?", LINE + "9, in decide: RuntimeError: boom", answered=True),
    "policy-text": Fault("policy compares with text: ?", LINE + "11, in decide: TypeError", answered=True),
    "policy-nothing": Fault("policy returns nothing: ?", "decide returned None", answered=True),
    "policy-class": Fault("policy returns a class: ?", "the class SendWhole", answered=True),
    "policy-number": Fault("policy returns text for a number: ?", "SendReduced('2')", answered=True),
    "policy-nan": Fault("policy returns NaN: ?", "SendRegions(nan)", answered=True),
    "policy-undecided": Fault("policy never decides: ?", "after the answer's end", answered=True),
    "model-nan": Fault("?", "model of N: the probabilities of its tokens", satellite="N", answered=True),
    "regions": Fault("regions: ?", "regions of N", satellite="N", answered=True),
    "image-text": Fault("?", "image of S", image=_file("image-text.jpg", "no picture" * 500)),
    "image-cut": Fault("?", "image of S", image=lambda folder: _cut(picture(folder, "image-cut.jpg"))),
    "image-empty": Fault("?", "image of S", image=_file("image-empty.jpg", "")),
    "image-huge": Fault("?", "limit of 100 megapixels", image=lambda at: _huge(at / "huge.png")),
    "image-gone": Fault("send: ?", "image-gone.jpg: No such file", image=_file("image-gone.jpg", "x")),
    "outbox-full": Fault("send: ?", "No space left", 6.0, "N"),
    "inbox-full": Fault("send: ?", "it was on its way", 5.0, image=lambda at: picture(at, "big", 600)),
    "server-400": Fault("send: server says 400", "server of G: "),
    "server-no-json": Fault("send: server sends no JSON", "JSONDecodeError in its reply"),
    "server-no-choice": Fault("send: server sends no choice", "IndexError in its reply"),
    "server-nothing": Fault("send: server answers nothing", "it answered without text"),
    "server-nan": Fault("send: server gives NaN", "model of G: the probabilities"),
    "server-1e6": Fault("send: server gives 1e6", "model of G: the probabilities"),
    "server-nested": Fault("send: server nests", "ValueError in its reply"),
    "server-500": Fault("send: server says 500", "server of the station's model was unavailable", 7.0),
    "server-closes": Fault("send: server closes", "server of the station's model was unavailable", 7.0),
    "late": Fault("send: ?", "it waited to be sent", LOS_S + 0.5),
}  # fmt: skip
FINE = {"fine-sent": Fault("send: ?", "", 1.0), "fine-dropped": Fault("drop: ?", "", 1.0)}


def _huge(path: Path) -> Path:
    Image.new("1", (20_000, 20_000)).save(path)
    return path


def _cut(path: Path) -> Path:
    os.truncate(path, path.stat().st_size // 2)
    return path


def _model_of_nan(folder: Path) -> Path:
    copy = folder / "nan-model"
    shutil.copytree(COMPACT, copy)
    weights = load_file(copy / "model.safetensors")
    broken = {name: np.full_like(w, np.nan) if "layers" in name else w for name, w in weights.items()}
    save_file(broken, copy / "model.safetensors", {"format": "pt"})
    return copy


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Ended, Path]]:
    """The run of all faults of single frames: (what it gave, its folder)."""
    folder = tmp_path_factory.mktemp("shared")
    usual = picture(folder, "usual.jpg")

    def frames(satellite: str) -> list[dict[str, Any]]:
        return [
            {
                "frame": name, "prompt": fault.prompt, "truth": "yes", "capture_s": fault.capture_s,
                "image": str(fault.image(folder) if fault.image else usual),
            }
            for name, fault in (FINE | FAULTS).items()
            if fault.satellite == satellite
        ]  # fmt: skip

    with ExitStack() as stack:
        stack.enter_context(pytest.MonkeyPatch.context()).setattr(keeping_up, "LATE_S", -1.0)  # all are late
        server = stack.enter_context(faulty_server())
        scenario = scenario_of(folder, frames=frames("S"), stations=[{"name": "G", "model": server}])
        nan = {"name": "N", "model": str(_model_of_nan(folder)), "frames": frames("N")}
        scenario["satellites"].append(scenario["satellites"][0] | nan)
        scenario["links"].append(scenario["links"][0] | {"satellite": "N"})

        def at_step(text: str) -> None:
            if text.startswith("building"):  # hosts see what is mounted before they are made
                (made,) = folder.glob("runs/*")
                stack.enter_context(small_disk(made / "inbox", "300k"))
                stack.enter_context(small_disk(made / "nodes/n/outbox", "200k"))

        delivered: set[str] = set()

        def at_event(record: EventRecord) -> None:
            event = record.event
            (outbox,) = folder.glob("runs/*/nodes/n/outbox")
            if isinstance(event, Ready) and record.node == "S":
                (folder / "image-gone.jpg").unlink()
            if isinstance(event, Delivered) and record.node == "N":
                delivered.add(event.frame)
                if len(delivered) == 2:
                    fill(outbox)

        yield run(scenario, folder, at_step=at_step, at_event=at_event), folder


@pytest.mark.long
def test_the_run_of_all_faults_has_failed_everywhere_alike(shared: tuple[Ended, Path]) -> None:
    ended, _ = shared
    assert ended.results is not None, ended.errors
    verdict = ended.results["verdict"]
    assert ended.code == verdict["exit_code"] == 1
    assert verdict["status"] == "failed"
    assert ended.first_line == verdict["headline"], ended.output
    assert ended.results["note"] is not None, "the compact model is a shipped one"
    totals = ended.results["totals"]
    assert (totals["answered"], totals["dropped"]) == (1, 1)
    fine = {frame["frame"]: frame for frame in ended.results["frames"]}["fine-sent"]
    assert (fine["answer"], fine["correct"], fine["failure"]) == ("yes", True, None)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_a_frame_is_named_at_the_top(shared: tuple[Ended, Path], fault: str) -> None:
    ended, folder = shared
    assert ended.results is not None, ended.errors
    causes = [cause for cause in ended.results["verdict"]["causes"] if fault in cause["frames"]]
    assert len(causes) == 1, "a frame that failed has one cause"
    wanted = FAULTS[fault].cause.format(folder=folder)
    assert wanted in causes[0]["reason"]
    assert causes[0]["reason"] in " ".join(ended.output.split()) or causes[0]["reason"] in ended.output
    frame = next(frame for frame in ended.results["frames"] if frame["frame"] == fault)
    assert not frame["correct"]
    assert frame["latency"] is None
    assert (frame["answer"] == "yes") == FAULTS[fault].answered


def test_troubles_that_ended_are_named_too(shared: tuple[Ended, Path]) -> None:
    ended, _ = shared
    assert ended.results is not None
    assert any("G: an item could not be stored at once" in warning for warning in ended.results["warnings"])
    assert ended.results["warnings"][0].startswith("links changed up to "), (
        "that is what other figures rest on"
    )


# Faults that end the run


def _kill_the_satellite(folder: Path) -> None:
    """Kill it again and again: the run starts it again, at first."""
    (config,) = folder.glob("runs/*/nodes/s/config.json")

    def kill() -> None:
        until_s = time.monotonic() + 30.0
        while time.monotonic() < until_s and any(folder.glob("runs/*/results.json")) is False:
            for pid in processes_of(config):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)

    threading.Thread(target=kill, daemon=True).start()


def _kill_the_broker_for_good(folder: Path) -> None:
    (config,) = folder.glob("runs/*/logs/g-broker.conf")
    pids = processes_of(config)
    config.unlink()
    config.mkdir()  # so that it cannot be written anew
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def _stop(folder: Path) -> None:
    signal.raise_signal(signal.SIGINT)


def _truncate_weights(folder: Path) -> None:
    """Damage the model after it was checked."""
    os.truncate(folder / "model" / "model.safetensors", 100_000)


@dataclass(frozen=True)
class Abort:
    """A fault that ends a run: what is done when the programs start, exit code, cause."""

    inject: Callable[[Path], None]
    code: int
    cause: str
    server: bool = True


ABORTS = {
    "node killed": Abort(_kill_the_satellite, 1, f"was killed by SIGKILL; {GIVEN_UP}"),
    "broker killed for good": Abort(
        _kill_the_broker_for_good, 1, "broker g-broker died and could not be kept"
    ),
    "model damaged after the check": Abort(_truncate_weights, 2, "model"),
    "server not there": Abort(lambda folder: None, 2, "no server answers", server=False),
    "stop request": Abort(_stop, 130, "stopped by SIGINT"),
}


@pytest.mark.parametrize("fault", ABORTS)
def test_a_run_that_ends_early_says_so_everywhere(tmp_path: Path, fault: str) -> None:
    abort = ABORTS[fault]
    begun: list[str] = []

    def at_step(text: str) -> None:
        begun.extend([text] if text.startswith("starting the nodes") else [])

    def at_event(record: EventRecord) -> None:
        if isinstance(record.event, Ready) and record.node == "G" and begun:
            begun.clear()
            abort.inject(tmp_path)

    shutil.copytree(COMPACT, tmp_path / "model")
    with Footprint() as footprint:
        with ExitStack() as stack:
            server = (
                stack.enter_context(faulty_server()) if abort.server else "openai:http://127.0.0.1:9/v1#only"
            )
            scenario = scenario_of(
                tmp_path,
                satellite={"model": str(tmp_path / "model")},
                stations=[{"name": "G", "model": server}],
            )
            ended = run(scenario, tmp_path, at_step=at_step, at_event=at_event)
        assert footprint.left_behind() == {}
    assert ended.results is not None, ended.errors
    verdict = ended.results["verdict"]
    assert ended.code == verdict["exit_code"] == abort.code
    assert verdict["status"] == ("stopped" if abort.code > 2 else "failed")
    assert abort.cause in verdict["headline"]
    assert abort.cause in verdict["causes"][0]["reason"]
    assert "PASSED" not in ended.output
    said = " ".join((ended.errors + ended.output).split())
    assert abort.cause in said or ("Stopped." in ended.output and abort.code == 130)


def test_too_few_descriptors_end_a_run_with_one_line(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    def at_step(text: str) -> None:
        if text.startswith("starting brokers"):
            in_use = len(list(Path("/proc/self/fd").iterdir()))
            resource.setrlimit(resource.RLIMIT_NOFILE, (in_use + 2, hard))

    with Footprint() as footprint:
        try:
            ended = run(scenario_of(tmp_path), tmp_path, at_step=at_step)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert footprint.left_behind() == {}
    (line,) = ended.errors.splitlines()
    assert re.search(r"Too many open files: this process may have \d+ files open \(ulimit -n\)", line)
    assert ended.results is not None and ended.results["verdict"]["exit_code"] == ended.code == 1
    assert "Too many open files" in ended.results["verdict"]["headline"]


@pytest.mark.long
def test_a_full_disk_of_the_runs_folder_costs_no_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))

    def at_event(record: EventRecord) -> None:
        if isinstance(record.event, Answered) and not begun:
            begun.append(record.event.frame)
            fill(tmp_path / "runs")

    with ExitStack() as stack:
        stack.enter_context(small_disk(tmp_path / "runs", "2m"))
        server = stack.enter_context(faulty_server())
        frames = [
            {
                "frame": name,
                "image": str(picture(tmp_path, f"{name}.jpg")),
                "prompt": "send: ?",
                "truth": "yes",
                "capture_s": at_s,
            }
            for name, at_s in [("first", 0.0), *((f"late{number}", 3.0) for number in range(20))]
        ]
        scenario = scenario_of(tmp_path, frames=frames, stations=[{"name": "G", "model": server}])
        (tmp_path / "pass.csv").write_text(HEADER.format(end_s=5.0) + UP.format(0.0) + DOWN.format(4.5))
        ended = run(scenario, tmp_path, at_event=at_event)
        assert ended.results is None, "there is no room for them"
    (made,) = (tmp_path / "temporary").iterdir()
    assert {path.name for path in made.iterdir()} == {
        "results.json", "report.html", "fidelity.json", "events.jsonl"
    }  # fmt: skip
    results = json.loads((made / "results.json").read_text())
    assert ended.code == results["verdict"]["exit_code"] == 1
    assert results["verdict"]["headline"] == ended.first_line == "FAILED: 20 of 21 frames have no answer"
    frames_by_name = {frame["frame"]: frame for frame in results["frames"]}
    assert frames_by_name["first"]["correct"]
    warning = results["warnings"][0]
    assert f"{tmp_path}/runs/" in warning and "No space left on device: 0.0 MB of 2.1 MB are free" in warning
    assert warning.endswith(f"the results of this run are in {made}")
    assert f"report: {made}/report.html" in ended.output and ended.errors == ""
    events = [json.loads(line) for line in (made / "events.jsonl").read_text().splitlines()]
    assert events[0]["event"] and {"first", "late19"} <= {event.get("frame") for event in events}


def test_a_folder_that_is_replaced_during_a_run_leads_to_nobody_elses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_UID", "65534")
    monkeypatch.setenv("SUDO_GID", "65534")
    others = tmp_path / "others"
    others.mkdir()
    (others / "results.json").write_text('"theirs"')

    def at_step(text: str) -> None:
        if text.startswith("building"):
            (made,) = tmp_path.glob("runs/*")
            made.rename(tmp_path / "away")
            made.symlink_to(others)

    ended = run(scenario_of(tmp_path), tmp_path, at_step=at_step)
    (line,) = ended.errors.splitlines()
    assert ended.code == 1 and "was moved, removed or replaced during the run" in line
    assert [path.name for path in others.iterdir()] == ["results.json"]
    assert {path.stat().st_uid for path in (others, others / "results.json")} == {0}
    assert (others / "results.json").read_text() == '"theirs"'
    verdict = json.loads((tmp_path / "away/results.json").read_text())["verdict"]
    assert verdict["headline"].startswith("FAILED: ") and "was moved" in verdict["headline"]
    assert {path.stat().st_uid for path in (tmp_path / "away").rglob("*")} == {65534}


@pytest.fixture
def run_folder() -> Iterator[Path]:
    """A file system instead of /run: one of which sockets' paths are short enough."""
    folder = Path(tempfile.mkdtemp(prefix="run", dir="/tmp"))
    subprocess.run(["mount", "-t", "tmpfs", "none", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
    folder.rmdir()


def test_what_others_change_behind_a_runs_back_is_named_and_the_run_goes_on(
    tmp_path: Path, run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("testbed.run.own_folders.SOCKETS", run_folder)

    def at_event(record: EventRecord) -> None:
        if isinstance(record.event, Captured) and record.event.frame == "early":
            for node, words in (("g", "addr flush dev link0"), ("s", "link set link0 down")):
                (config,) = tmp_path.glob(f"runs/*/nodes/{node}/config.json")
                command = ["mnexec", "-a", str(processes_of(config)[0]), "ip", *words.split()]
                subprocess.run(command, check=True)
        if isinstance(record.event, Answered) and record.event.frame == "late":
            subprocess.run(["mount", "-o", "remount,ro", str(run_folder)], check=True)

    usual = str(picture(tmp_path, "usual.jpg"))
    frames = [
        {"frame": name, "image": usual, "prompt": "send: ?", "truth": "yes", "capture_s": at_s}
        for name, at_s in (("early", 0.5), ("late", 4.0))
    ]
    with Footprint() as footprint:
        with ExitStack() as stack:
            server = stack.enter_context(faulty_server())
            scenario = scenario_of(tmp_path, frames=frames, stations=[{"name": "G", "model": server}])
            (tmp_path / "pass.csv").write_text(HEADER.format(end_s=8.0) + UP.format(0.0) + DOWN.format(7.0))
            ended = run(scenario, tmp_path, at_event=at_event)
        assert footprint.left_behind() == {}
    assert ended.results is not None, ended.errors
    assert ended.code == ended.results["verdict"]["exit_code"] == 0, ended.output
    again = "by another program; it was set again"
    assert {
        f"link S - G, at G: the address 10.0.0.2 of its interface link0 was removed {again}",
        f"link S - G, at S: its interface link0 was taken down {again}",
    } <= set(ended.results["warnings"])
    (left,) = run_folder.iterdir()
    (line,) = ended.errors.splitlines()
    assert f"{left} could not be removed" in line and "spaceverse clean" in line
