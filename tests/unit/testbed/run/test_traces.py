"""Links without a contact, captures after the end, and the load that a scenario offers to its links."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from testbed.errors import ScenarioError
from testbed.run.offered_load import carried_bytes, offered_load
from testbed.run.traces import link_traces
from testbed.scenario.file import load_scenario
from testbed.scenario.model import Frame, GroundStation, Link, Recorded, Satellite, Scenario, to_json
from tests.support import ROOT
from traces.trace import Trace, TraceHeader
from traces.trace_file import write_trace


def trace(*rows: tuple[float, float], end_s: float) -> Trace:
    """A trace of (time, rate); a rate of 0 is no contact."""
    time_s, rate = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    up, zero = rate > 0, rate * 0
    header = TraceHeader("S", "G", datetime(2018, 1, 20, tzinfo=timezone.utc), "a test")
    return Trace(header, time_s, up, up, rate, rate, zero, zero, zero, zero, end_s)


def scenario(folder: Path, traces: Sequence[Trace], captures_s: Sequence[float] = (1.0,)) -> Scenario:
    Image.new("RGB", (1, 1)).save(folder / "f.jpg")
    with (folder / "f.jpg").open("r+b") as image:
        image.truncate(1000)
    for number, one in enumerate(traces):
        write_trace(one, folder / f"{number}.csv")
    frames = tuple(
        Frame(frame=f"f{number}", image=folder / "f.jpg", prompt="?", truth="yes", capture_s=capture_s)
        for number, capture_s in enumerate(captures_s)
    )
    names = [f"G{number}" for number in range(len(traces))]
    return Scenario(
        name="tiny",
        satellites=(Satellite(name="S", model="compact", frames=frames),),
        stations=tuple(GroundStation(name=name, model="regular") for name in names),
        links=tuple(
            Link(satellite="S", station=name, follows=folder / f"{number}.csv")
            for number, name in enumerate(names)
        ),
    )


UP, SILENT = trace((0, 1e6), end_s=30), trace((0, 0), end_s=40)


def test_a_link_without_a_contact_is_said_and_the_others_are_used(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="link S - G1 has no contact within 40 s; the run uses the other"):
        traces = link_traces(scenario(tmp_path, [UP, SILENT]))
    assert list(traces) == ["S - G0", "S - G1"]
    with pytest.raises(ScenarioError, match="link S - G0 has no contact within 40 s; no frame could arrive"):
        link_traces(scenario(tmp_path, [SILENT, SILENT]))


def test_a_capture_after_the_end_is_refused_with_both_times(tmp_path: Path) -> None:
    longer = trace((0, 1e6), end_s=40)
    assert link_traces(scenario(tmp_path, [UP, longer], [1, 39.9]))
    with pytest.raises(ScenarioError, match=r"frame f1 of S is captured at 40 s, .* end at 40 s"):
        link_traces(scenario(tmp_path, [UP, longer], [1, 40]))


def test_a_link_follows_a_part_of_a_recording_with_what_it_lacks(tmp_path: Path) -> None:
    line = "[{:.1f}] 64 bytes from 10.0.0.1: icmp_seq={} ttl=63 time={} ms\n"
    recording = tmp_path / "ping.txt"
    recording.write_text("".join(line.format(1700182800 + n, n + 1, 40 if n < 5 else 60) for n in range(10)))
    tiny = scenario(tmp_path, [UP])
    follows = Recorded(file=recording, down_bit_s=2e6, up_bit_s=1e6, begin_s=3, length_s=4)
    recorded = tiny.model_copy(update={"links": (tiny.links[0].model_copy(update={"follows": follows}),)})
    assert Scenario.model_validate_json(to_json(recorded)) == recorded
    (played,) = link_traces(recorded).values()
    assert played.end_s == 4
    assert [played.row_at(time_s).down_delay_s for time_s in (1.5, 2.5)] == pytest.approx([0.02, 0.03])
    assert (played.row_at(0).down_bit_s, played.row_at(0).up_bit_s) == (2e6, 1e6)
    recording.unlink()
    with pytest.raises(ScenarioError, match=r"link S - G0: no recording at .*ping\.txt"):
        recorded.check_files()


def test_links_that_are_up_together_carry_once() -> None:
    first = trace((0, 8e3), (10, 0), end_s=30)
    second = trace((0, 80e3), (20, 0), end_s=30)
    assert carried_bytes([first], 0) == 10e3
    assert carried_bytes([first], 4) == 6e3
    assert carried_bytes([first, second], 0) == 10e3 + 100e3
    assert carried_bytes([second, first], 0) == 200e3
    assert carried_bytes([first, SILENT], 0) == 10e3
    assert carried_bytes([SILENT], 50) == 0


def test_the_offered_load_is_a_line_and_more_than_the_links_carry_is_said(tmp_path: Path) -> None:
    for rate_bit_s, said in (
        (8e3, "S: 2 images of 0.002 MB in all, 7% of the 0.029 MB that its links carry"),
        (400.0, "138% of the 0.00145 MB that its links carry; not all can come down whole"),
    ):
        tiny = scenario(tmp_path, [UP], [1, 2])
        (line,) = offered_load(tiny, {"S - G0": trace((0, rate_bit_s), end_s=30)})
        assert said in line


@pytest.mark.parametrize("name", ["handover", "two_stations"])
def test_a_shipped_scenario_offers_less_than_its_links_carry(name: str) -> None:
    shipped = load_scenario(ROOT / f"topologies/{name}.py")
    (line,) = offered_load(shipped, link_traces(shipped))
    assert "not all" not in line


def test_the_scenario_of_a_run_holds_in_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my-model").mkdir()
    tiny = scenario(tmp_path, [UP])
    model = {"model": "my-model"}
    moved = tiny.model_copy(
        update={
            "satellites": tuple(satellite.model_copy(update=model) for satellite in tiny.satellites),
            "stations": tuple(station.model_copy(update=model) for station in tiny.stations),
        }
    )
    written = json.loads(to_json(moved))
    assert written["satellites"][0]["model"] == written["stations"][0]["model"] == str(tmp_path / "my-model")
    on_board = moved.satellites[0].model_copy(update={"board": "b"})
    kept = json.loads(to_json(moved.model_copy(update={"satellites": (on_board,)})))
    assert kept["satellites"][0]["model"] == "my-model"  # a folder on the board
    assert json.loads(to_json(tiny))["satellites"][0]["model"] == "compact"


def test_a_scenario_without_boards_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tiny = scenario(tmp_path, [UP])
    fields = json.loads(to_json(tiny))
    assert fields.pop("boards") == str(tmp_path / "boards.toml")
    optional = [name for name, field in Scenario.model_fields.items() if not field.is_required()]
    for name in optional:
        fields.pop(name, None)
    (tmp_path / "scenario.json").write_text(json.dumps(fields))
    assert load_scenario(tmp_path / "scenario.json") == tiny
