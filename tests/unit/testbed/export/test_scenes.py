"""Scenes in the formats of globes and orbit tools, read back by other programs' readers."""

from __future__ import annotations

import csv
import json
import warnings
from datetime import datetime, timezone
from pathlib import Path

import czml3
import fastkml
import numpy as np
import pytest
from astropy.utils import iers
from oem import OrbitEphemerisMessage
from oem.tle import tle_to_oem

from nodes.contract.topics import slug
from testbed.cli.main import main
from testbed.errors import InputError
from testbed.export.scene import Capture, Scene, scene_of
from testbed.export.sources import read_scene
from testbed.run.traces import link_traces
from testbed.scenario.file import load_scenario
from tests.support import ROOT
from traces.orbits.orbit import ground_track
from traces.orbits.propagation import Fleet
from traces.orbits.tle import FLOCK_TLE
from traces.orbits.trace_orbits import orbits_of
from traces.trace_file import read_trace, write_trace

iers.conf.auto_download = False  # the packaged tables will do

RELAY = ROOT / "topologies/relay.py"


def exported(form: str, source: Path, folder: Path) -> str:
    path = folder / f"file.{form}"
    assert main(["export", form, str(source), "-o", str(path), "--force"]) == 0
    return path.read_text(encoding="utf-8")


def a_run(folder: Path) -> Path:
    """Write the files of a run's folder that exports read."""
    scenario = load_scenario(ROOT / "topologies/dove_pass.py")
    (folder / "traces").mkdir(parents=True)
    for trace in link_traces(scenario).values():
        write_trace(trace, folder / "traces/flock-2p-1-svalbard.csv")
    (folder / "scenario.json").write_text(json.dumps({"name": "dove_pass"}))
    frame = {
        "frame": "e0001", "satellite": "FLOCK 2P-1", "prompt": "<script>alert(1)</script>", "truth": "zero",
        "capture_s": 2.0, "answer": "zero", "correct": True,
    }  # fmt: skip
    results = {"scenario": "dove_pass", "frames": [frame]}
    (folder / "results.json").write_text(json.dumps(results))
    return folder


def test_a_trace_holds_its_orbits_and_its_station(tmp_path: Path) -> None:
    scenario = load_scenario(RELAY)
    for name, trace in link_traces(scenario).items():
        write_trace(trace, tmp_path / "link.csv")
        ends = orbits_of(read_trace(tmp_path / "link.csv").header)
        assert ends is not None
        names = [*ends.satellites, *([ends.station] if ends.station else [])]
        assert " - ".join(end.name for end in names) == name


def test_czml_is_what_its_own_parser_reads(tmp_path: Path) -> None:
    scene = read_scene(RELAY, FLOCK_TLE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        document = czml3.Document.model_validate_json(exported("czml", RELAY, tmp_path))
    packets = {packet.id: packet for packet in document.packets}
    assert {one.name for one in (*scene.satellites, *scene.stations, *scene.links)} <= packets.keys()
    assert packets["FLOCK 3P-50 - FLOCK 3P-52"].polyline.positions.references.values == [
        "FLOCK 3P-50#position",
        "FLOCK 3P-52#position",
    ]
    rows = np.reshape(packets["FLOCK 2P-1"].position.cartesian.values, (-1, 4))
    orbit = next(one for one in scene.satellites if one.name == "FLOCK 2P-1")
    expected = Fleet([orbit], scene.start_utc).states(rows[:, 0]).position_m[:, 0].T
    assert np.abs(rows[:, 1:] - expected).max() < 0.01


def test_positions_between_those_of_czml_are_interpolated_within_a_metre() -> None:
    scene = read_scene(ROOT / "topologies/dove_pass.py", FLOCK_TLE)
    long = Scene(scene.name, scene.start_utc, 7200.0, scene.satellites, scene.stations, scene.links)
    times_s, between_s = long.times_s(60.0)[40:46], 42.5 * 60
    states = Fleet(scene.satellites, scene.start_utc).states([*times_s, between_s]).position_m[:, 0]
    weights = [
        np.prod([(between_s - other) / (one - other) for other in times_s if other != one]) for one in times_s
    ]
    assert np.abs(states[:, :-1] @ weights - states[:, -1]).max() < 1.0


def test_kml_is_read_by_another_program(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run")
    document = fastkml.KML.from_string(exported("kml", run, tmp_path).encode()).features[0]
    folders = {folder.name: folder for folder in document.features}
    track = folders["FLOCK 2P-1"].features[0]
    scene = read_scene(run, FLOCK_TLE)
    latitude, longitude = ground_track(scene.satellites[0], scene.start_utc, [0.0, 180.0])
    coordinates = track.geometry.coords
    assert coordinates[0][:2] == pytest.approx((longitude[0], latitude[0]), abs=1e-4)
    assert coordinates[-1][:2] == pytest.approx((longitude[1], latitude[1]), abs=1e-4)
    contact = folders["contacts"].features[0]
    assert contact.times.begin.dt == scene.utc(scene.links[0].contacts[0][0])
    assert folders["images"].features[0].description.startswith("prompt: <script>alert(1)</script>")


def test_an_ephemeris_message_agrees_with_another_program(tmp_path: Path) -> None:
    assert main(["export", "oem", str(RELAY), "-o", str(tmp_path / "oem")]) == 0
    scene = read_scene(RELAY, FLOCK_TLE)
    for satellite in scene.satellites:
        message = OrbitEphemerisMessage.open(tmp_path / f"oem/{slug(satellite.name)}.oem")
        (segment,) = message
        assert segment.metadata["OBJECT_NAME"] == satellite.name
        states = list(segment.states)
        times = [state.epoch.to_datetime(timezone.utc) for state in states]
        assert (times[0], times[-1]) == (scene.start_utc, scene.end_utc)
        lines = [satellite.line1, satellite.line2]
        other = tle_to_oem(lines, states[0].epoch, states[-1].epoch, 3)
        for own, theirs in zip(states, next(iter(other)).states, strict=True):
            assert own.position == pytest.approx(theirs.position, abs=0.02)  # km
            assert own.velocity == pytest.approx(theirs.velocity, abs=2e-5)


def test_images_of_a_run_are_shown_as_text_where_they_were_taken(tmp_path: Path) -> None:
    document = json.loads(exported("czml", a_run(tmp_path / "run"), tmp_path))
    frame = next(packet for packet in document if packet["id"] == "frame e0001")
    assert "<script>" not in frame["description"]
    assert "&lt;script&gt;" in frame["description"]
    assert frame["position"]["cartographicDegrees"][1] > 70  # on its way to Svalbard
    assert frame["point"]["color"]["rgba"] == [0, 158, 115, 255]


def test_a_table_of_passes_is_shown_with_its_contacts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    window = ["--start", "2018-01-20T00:00:00Z", "--duration", "12h", "--csv"]
    ends = ["--satellite", "FLOCK 2P-1", "--station", "Svalbard", "--station", "48.1,11.6,500"]
    assert main(["trace", "passes", *ends, *window]) == 0
    table = capsys.readouterr().out
    (tmp_path / "passes.csv").write_text(table)
    rows = list(csv.DictReader(table.splitlines()))
    scene = read_scene(tmp_path / "passes.csv", FLOCK_TLE)
    assert sum(len(link.contacts) for link in scene.links) == len(rows) > 4
    assert scene.start_utc == min(
        datetime.fromisoformat(row["aos_utc"].replace("Z", "+00:00")) for row in rows
    )
    czml3.Document.model_validate_json(exported("czml", tmp_path / "passes.csv", tmp_path))
    (tmp_path / "passes.csv").write_text(table[: table.rstrip().rindex(",")])
    with pytest.raises(InputError, match=r"passes\.csv: pass \d+ has not one value in each column"):
        read_scene(tmp_path / "passes.csv", FLOCK_TLE)


def test_a_link_without_an_orbit_is_left_out() -> None:
    traces = list(link_traces(load_scenario(RELAY)).values())
    recorded = traces[0].shift(0)
    object.__setattr__(recorded.header, "notes", ("recorded",))
    scene = scene_of("x", traces, [Capture("late", "nobody", 5.0)])
    assert len(scene.links) == len(traces) - 1
    assert scene.place_of(scene.captures[0]) is None


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("none.csv", "does not exist; name the folder of a run"),
        ("empty", "not the folder of a run"),
        ("recorded.csv", "follows an orbit"),
    ],
)
def test_what_has_no_positions_is_refused(
    source: str, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    trace = next(iter(link_traces(load_scenario(RELAY)).values()))
    object.__setattr__(trace.header, "notes", ("recorded",))
    write_trace(trace, tmp_path / "recorded.csv")
    assert main(["export", "kml", str(tmp_path / source), "-o", str(tmp_path / "x.kml")]) == 2
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "x.kml").exists()
