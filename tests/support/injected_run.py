"""A run as the command does it, with faults injected at its steps and events."""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nodes.contract.events import EventRecord
from nodes.models import COMPACT
from testbed.cli.main import main
from testbed.run import progress
from testbed.run.progress import TerminalProgress

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


def processes_of(config: Path) -> list[int]:
    """Return the processes that have a file as an argument."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace").split()
        except OSError:
            continue
        if str(config) in words:
            found.append(int(path.parent.name))
    return found


def fill(folder: Path) -> None:
    """Fill the file system of a folder."""
    with suppress(OSError), (folder / "filler").open("wb", buffering=0) as file:
        while file.write(bytes(1 << 12)):
            pass


class small_disk:  # noqa: N801 - a context manager
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
