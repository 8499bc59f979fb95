"""What a run needs is compared with what the machine has, and said before anything is built."""

from __future__ import annotations

import resource
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nodes.contract.events import LinkChanged
from nodes.contract.models import memory
from nodes.contract.models.weights import weights_of
from nodes.models import COMPACT, REGULAR
from testbed.cli.terminal.console import console
from testbed.machine import resources
from testbed.results.clock.keeping_up import LATE_S, lateness_warning
from testbed.results.results import Results
from testbed.run import ceilings as module
from testbed.run.ceilings import (
    MODEL_BYTES,
    NODE_BYTES,
    PIXEL_BYTES,
    PROBE_BYTES,
    ceilings,
    needs_of,
)
from testbed.run.progress import TerminalProgress
from testbed.scenario.model import Scenario
from tests.support.records import record
from traces.trace import Trace, TraceHeader

GB = 1_000_000_000


def scenario_of(folder: Path, satellites: int, *, side_px: int = 100, **changes: Any) -> Scenario:
    """Return a scenario of satellites with one frame each, and one station."""
    Image.new("1", (side_px, side_px)).save(folder / "f.png")
    frame = {"image": folder / "f.png", "prompt": "?", "truth": "1", "capture_s": 0}
    whole: dict[str, Any] = {
        "name": "s",
        "satellites": [
            {"name": f"S{number}", "model": str(COMPACT), "frames": [frame | {"frame": f"f{number}"}]}
            for number in range(satellites)
        ],
        "stations": [{"name": "G", "model": str(REGULAR)}],
        "links": [
            {"satellite": f"S{number}", "station": "G", "follows": "t.csv"} for number in range(satellites)
        ],
    }
    return Scenario.model_validate(whole | changes)


def trace_of(rows: int, length_s: float = 100.0) -> Trace:
    header = TraceHeader("S", "G", datetime(2018, 1, 20, tzinfo=timezone.utc), "a test")
    time_s, one = np.linspace(0, length_s, rows, endpoint=False), np.ones(rows)
    return Trace(
        header, time_s, one > 0, one > 0, one * 1e6, one * 1e6, *[one * 0.01] * 2, *[one * 0] * 2, length_s
    )


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with 16 GB that are free, two cores, and the usual limit of open files."""
    monkeypatch.setattr(module, "available_memory_bytes", lambda: 16 * GB)
    monkeypatch.setattr(module, "usable_cores", lambda: 2)
    monkeypatch.setattr(module, "allow_descriptors", lambda wanted: 1024)


def test_each_part_of_a_run_needs_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def needed(satellites: int = 1, **changes: Any) -> int:
        return needs_of(scenario_of(tmp_path, satellites, **changes), {}).memory_bytes

    small = PIXEL_BYTES * 100**2
    assert needed(2, probe=False) - needed(1, probe=False) == NODE_BYTES + small
    assert needed(1) - needed(1, probe=False) == 2 * PROBE_BYTES
    served = [{"name": "G", "model": "openai:http://localhost:8000/v1"}]
    assert needed(1) - needed(1, stations=served) == MODEL_BYTES + 4 * weights_of(REGULAR)
    # A satellite and its station decode it.
    assert needed(1, side_px=900) - needed(1) == 2 * PIXEL_BYTES * (900**2 - 100**2)
    with monkeypatch.context() as patch:
        patch.setattr(module, "MOST_PIXELS", 900**2 - 1)
        assert needed(1, side_px=900) == needed(1) - 2 * small, "it is refused by its header"
    on_board = needs_of(scenario_of(tmp_path, 1), {}, ["S0"])
    assert on_board.memory_bytes < needed(1) - NODE_BYTES and on_board.links == 0


def test_weights_are_counted_as_torch_will_hold_them(tmp_path: Path) -> None:
    size_bytes = (COMPACT / "model.safetensors").stat().st_size
    assert 0.3 * size_bytes < weights_of(COMPACT) < 0.6 * size_bytes, "saved in 16 bits, loaded in 32"
    assert weights_of(Path("owner/model")) == 0
    for content in (b"", b"\xff" * 100, (5).to_bytes(8, "little") + b"[[[[[", b"\x02" + bytes(7) + b"{}"):
        (tmp_path / "a.safetensors").write_bytes(content)
        assert weights_of(tmp_path) == 0


def test_enough_of_everything_needs_no_word(tmp_path: Path, free: None) -> None:
    scenario = scenario_of(tmp_path, 25)
    assert ceilings(scenario, {link.name: trace_of(100) for link in scenario.links}) == []


def test_what_is_short_is_said(tmp_path: Path, free: None, monkeypatch: pytest.MonkeyPatch) -> None:
    crowd = scenario_of(tmp_path, 60)
    assert ceilings(crowd, {}) == [
        "60 links on 2 cores: beyond 25 a core, contacts may begin late; use fewer links, or more cores"
    ]
    fast = {link.name: trace_of(5_000) for link in crowd.links}
    assert any(
        "links change 3000 times a second in all; up to 2000" in line for line in ceilings(crowd, fast)
    )
    monkeypatch.setattr(module, "available_memory_bytes", lambda: GB)
    (line, _) = ceilings(crowd, {})
    assert line.startswith("this run needs about 3.") and "1.0 GB are free" in line
    monkeypatch.setattr(module, "available_memory_bytes", lambda: None)
    assert len(ceilings(crowd, {})) == 1
    monkeypatch.setattr(module, "usable_cores", lambda: 1000)
    monkeypatch.setattr(module, "allow_descriptors", lambda wanted: 303)
    assert any("about 304 open files in one process, and 303 are" in one for one in ceilings(crowd, {}))
    monkeypatch.setattr(module, "allow_descriptors", lambda wanted: 304)
    assert ceilings(crowd, {}) == []


def test_links_too_fast_for_nfqueue_at_a_speed_are_said(tmp_path: Path, free: None) -> None:
    for shaper, speed, said in (("auto", 800, True), ("auto", 400, False), ("netem", 800, False)):
        scenario = scenario_of(tmp_path, 1, shaper=shaper, speed=speed)
        lines = ceilings(scenario, {"S0 - G": trace_of(1)})
        assert (
            any("up to 800 Mbit/s of real traffic; nfqueue carries about 600" in one for one in lines) == said
        )


def test_the_limit_of_open_files_is_raised_as_far_as_it_is_needed() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, before[1]))
        assert resources.allow_descriptors(100) == 200
        assert resources.allow_descriptors(300) == 300
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (300, before[1])
        assert resources.allow_descriptors(1 << 40) == (1 << 40 if before[1] < 0 else before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_memory_is_what_machine_and_groups_allow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = memory.available_memory_bytes()
    assert whole is not None and whole > 10_000_000
    monkeypatch.setattr(memory, "_CGROUPS", tmp_path)
    monkeypatch.setattr(memory, "_own_groups", lambda: [tmp_path / "inner", tmp_path])
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner/memory.max").write_text("max\n")
    for folder in (tmp_path, tmp_path / "inner"):
        (folder / "memory.current").write_text("7000000\n")
    (tmp_path / "memory.max").write_text("9000000\n")
    assert memory.available_memory_bytes() == 2_000_000
    (tmp_path / "memory.max").write_text("5000000\n")
    assert memory.available_memory_bytes() == 0


def test_links_that_follow_their_traces_late_are_a_warning() -> None:
    assert lateness_warning([]) is None
    assert lateness_warning([0.0, LATE_S]) is None
    text = lateness_warning([0.001, 0.222, 0.05, 0.02])
    assert text is not None
    assert text.startswith("links changed up to 222 ms late (2 of 4 changes by more than 20 ms)")
    results = Results("s", "nfqueue", (), (), 1.0, machine=(text,), troubles=("later",))
    assert results.warnings() == [text, "later"], "first, since other figures rest on it"


def test_a_late_change_is_said_when_it_happens(capsys: pytest.CaptureFixture[str]) -> None:
    progress = TerminalProgress(console())
    for time_s, late_s in ((-1.0, 0.5), (1.0, 0.222), (2.0, 0.001)):
        change = LinkChanged(link="S - G", up=True, lateness_s=late_s, downlink_up=True, uplink_up=True)
        progress.event(record("run", change, time_s=time_s))
    first, second, third = capsys.readouterr().out.splitlines()
    assert "late" not in first, "scenario second 0 has not come"
    assert second.endswith("link S - G is up, 222 ms late")
    assert third.endswith("link S - G is up")
