"""Classes of faults: exit code, first line of the result and results.json agree, and the cause is named.

Bad input ends before the run, with exit code 2 and one line. One run carries all faults of single frames,
each in a frame of its own. Faults that end a run have short runs of their own.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from nodes.contract.events import Delivered, EventRecord, Ready
from nodes.models import COMPACT
from testbed.cli.main import main
from testbed.run import progress
from testbed.run.progress import TerminalProgress
from tests.support.faulty_server import faulty_server
from tests.support.footprint import Footprint

pytestmark = pytest.mark.root

AS_PROGRAM = """
from testbed import Scenario

def scenario():
    return Scenario.model_validate_json({text!r})
"""

HEADER = """# spaceverse-trace 2
# satellite: S
# station: G
# start_utc: 2018-01-20T00:00:00Z
# end_s: {end_s}
# made_by: a test
time_s,up,down_bit_s,up_bit_s,down_delay_s,up_delay_s,down_loss,up_loss
"""
UP, DOWN = "{},1,8000000.0,1000000.0,0.005,0.005,0.0,0.0\n", "{},0,0.0,0.0,0.0,0.0,0.0,0.0\n"
LOS_S, END_S = 12.0, 13.0
TRACE = HEADER.format(end_s=END_S) + UP.format(0.0) + DOWN.format(LOS_S)

# Decides by the prompt, "what to do: ...".
POLICY = """
from nodes.policies import Accept, Continue, Drop, SendReduced, SendRegions, SendWhole


class Policy:
    def decide(self, situation):
        match situation.prompt.split(": ")[0]:
            case "policy raises":
                raise RuntimeError("boom")
            case "policy compares with text":
                return Accept() if situation.whole_bytes >= "1000" else SendWhole()
            case "policy returns nothing":
                return None
            case "policy returns a class":
                return SendWhole
            case "policy returns text for a number":
                return SendReduced("2")
            case "policy returns NaN":
                return SendRegions(float("nan"))
            case "policy never decides":
                return Continue()
            case "drop":
                return Drop()
            case "send":
                return SendWhole()
            case "regions":
                return SendRegions(5000)
        return Accept() if situation.finished else Continue()
"""


@dataclass(frozen=True)
class Ended:
    """A command that has ended: exit code, what it printed, results.json if there is one."""

    code: int
    output: str
    errors: str
    results: dict[str, Any] | None

    @property
    def first_line(self) -> str:
        """The first line of the result, after the lines of progress."""
        heads = ("PASSED", "FAILED", "STOPPED")
        return next((line for line in self.output.splitlines() if line.startswith(heads)), "")


class Injector(TerminalProgress):
    """Progress that calls back at each step and event, in the run's own thread."""

    at_step: Callable[[str], None]
    at_event: Callable[[EventRecord], None]

    def step(self, text: str) -> None:
        super().step(text)
        type(self).at_step(text)

    def event(self, record: EventRecord) -> None:
        super().event(record)
        type(self).at_event(record)


def run(
    scenario: dict[str, Any] | Path,
    folder: Path,
    *,
    at_step: Callable[[str], None] = lambda text: None,
    at_event: Callable[[EventRecord], None] = lambda record: None,
    output: Path | None = None,
) -> Ended:
    """Run a scenario as the command does, with faults injected at steps and events."""
    path = scenario if isinstance(scenario, Path) else folder / "scenario.py"
    if not isinstance(scenario, Path):  # JSON may name no program, and images only
        path.write_text(AS_PROGRAM.format(text=json.dumps(scenario)))
    runs = output or folder / "runs"
    said, errors = io.StringIO(), io.StringIO()
    hooks = {"at_step": staticmethod(at_step), "at_event": staticmethod(at_event)}
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(said), redirect_stderr(errors):
        patch.setattr(progress, "TerminalProgress", type("Injecting", (Injector,), hooks))
        code = main(["run", str(path), "--output", str(runs)])
    found = list(runs.glob("*/results.json")) if runs.is_dir() else []
    results = json.loads(found[0].read_text()) if found else None
    return Ended(code, said.getvalue(), errors.getvalue(), results)


def picture(folder: Path, name: str, side_px: int = 64) -> Path:
    """Write a picture of noise, which no codec makes small."""
    pixels = np.random.default_rng(len(name)).integers(0, 256, (side_px, side_px, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / name, "JPEG", quality=90)
    return folder / name


def scenario_of(
    folder: Path, *, frames: list[dict[str, Any]] | None = None, **changes: Any
) -> dict[str, Any]:
    """Return a scenario of one satellite with one frame, as JSON; `changes` replace parts of it."""
    (folder / "pass.csv").write_text(TRACE)
    (folder / "mine.py").write_text(POLICY)
    frame = {
        "frame": "f",
        "image": str(picture(folder, "f.jpg")),
        "prompt": "?",
        "truth": "yes",
        "capture_s": 1.0,
    }
    satellite = {
        "name": "S",
        "model": str(COMPACT),
        "policy": str(folder / "mine.py"),
        "frames": frames or [frame],
    }
    link = {"satellite": "S", "station": "G", "follows": str(folder / "pass.csv")}
    whole: dict[str, Any] = {
        "name": "faults", "satellites": [satellite], "links": [link], "probe": False, "grace_s": 2.0,
        "boards": str(folder / "boards.toml"),
        "stations": [{"name": "G", "model": "openai:http://127.0.0.1:9/v1#only"}],
    }  # fmt: skip
    satellite.update(changes.pop("satellite", {}))
    frame.update(changes.pop("frame", {}))
    return whole | changes


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
    "image-gone": Fault("send: ?", "image-gone.jpg: No such file", image=_file("image-gone.jpg", "x")),
    "outbox-full": Fault("send: ?", "No space left", 6.0, "N"),
    "inbox-full": Fault("send: ?", "it was on its way", 5.0, image=lambda at: picture(at, "big", 600)),
    "server-400": Fault("send: server says 400", "server of G: "),
    "server-no-json": Fault("send: server sends no JSON", "JSONDecodeError in its reply"),
    "server-no-choice": Fault("send: server sends no choice", "IndexError in its reply"),
    "server-nothing": Fault("send: server answers nothing", "it answered without text"),
    "server-nan": Fault("send: server gives NaN", "model of G: the probabilities"),
    "server-500": Fault("send: server says 500", "server of the station's model was unavailable", 7.0),
    "server-closes": Fault("send: server closes", "server of the station's model was unavailable", 7.0),
    "late": Fault("send: ?", "it waited to be sent", LOS_S + 0.5),
}  # fmt: skip
FINE = {"fine-sent": Fault("send: ?", "", 1.0), "fine-dropped": Fault("drop: ?", "", 1.0)}


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
        server = stack.enter_context(faulty_server())
        scenario = scenario_of(folder, frames=frames("S"), stations=[{"name": "G", "model": server}])
        nan = {"name": "N", "model": str(_model_of_nan(folder)), "frames": frames("N")}
        scenario["satellites"].append(scenario["satellites"][0] | nan)
        scenario["links"].append(scenario["links"][0] | {"satellite": "N"})

        def at_step(text: str) -> None:
            if text.startswith("building"):  # hosts see what is mounted before they are made
                (made,) = folder.glob("runs/*")
                stack.enter_context(_small_disk(made / "inbox", "300k"))
                stack.enter_context(_small_disk(made / "nodes/n/outbox", "200k"))

        delivered: set[str] = set()

        def at_event(record: EventRecord) -> None:
            event = record.event
            (outbox,) = folder.glob("runs/*/nodes/n/outbox")
            if isinstance(event, Ready) and record.node == "S":
                (folder / "image-gone.jpg").unlink()
            if isinstance(event, Delivered) and record.node == "N":
                delivered.add(event.frame)
                if len(delivered) == 2:
                    _fill(outbox)

        yield run(scenario, folder, at_step=at_step, at_event=at_event), folder


def _fill(folder: Path) -> None:
    """Fill the file system of a folder."""
    with suppress(OSError), (folder / "filler").open("wb", buffering=0) as file:
        while file.write(bytes(1 << 12)):
            pass


class _small_disk:  # noqa: N801 - a context manager
    """A small file system at a folder, which is created."""

    def __init__(self, folder: Path, size: str) -> None:
        self._folder, self._size = folder, size

    def __enter__(self) -> None:
        self._folder.mkdir()
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={self._size}", "none", str(self._folder)], check=True
        )

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", "--lazy", str(self._folder)], check=True)


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


# Faults that end the run


def _processes_of(config: Path) -> list[int]:
    """Return the processes that have a file as an argument."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if str(config) in words:
            found.append(int(path.parent.name))
    return found


def _kill_the_satellite(folder: Path) -> None:
    (config,) = folder.glob("runs/*/nodes/s/config.json")
    for pid in _processes_of(config):
        os.kill(pid, signal.SIGKILL)


def _kill_the_broker_for_good(folder: Path) -> None:
    (config,) = folder.glob("runs/*/logs/g-broker.conf")
    pids = _processes_of(config)
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
    "node killed": Abort(_kill_the_satellite, 1, "S ended with exit code -9"),
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
    assert (abort.cause in ended.errors) or ("Stopped." in ended.output and abort.code == 130)


def test_a_full_disk_of_the_runs_folder_ends_the_run(tmp_path: Path) -> None:
    def at_event(record: EventRecord) -> None:
        if isinstance(record.event, Ready):
            _fill(tmp_path / "runs")

    with ExitStack() as stack:
        stack.enter_context(_small_disk(tmp_path / "runs", "2m"))
        server = stack.enter_context(faulty_server())
        scenario = scenario_of(tmp_path, stations=[{"name": "G", "model": server}])
        (tmp_path / "pass.csv").write_text(HEADER.format(end_s=3.0) + UP.format(0.0) + DOWN.format(2.0))
        ended = run(scenario, tmp_path, at_event=at_event)
    assert ended.code == 1
    assert f"{tmp_path}/runs/" in ended.errors and "No space left on device" in ended.errors
    assert ended.results is None and "PASSED" not in ended.output
