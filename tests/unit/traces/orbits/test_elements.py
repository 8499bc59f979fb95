"""OMM, 3LE, skyfield's satellites and Walker constellations become element sets."""

from __future__ import annotations

import argparse
import json
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sgp4 import omm
from sgp4.api import Satrec
from sgp4.exporter import export_omm

from testbed.cli.trace.recording_options import add_recording_options, assumptions
from traces.errors import OrbitError, TleError
from traces.make import make_trace
from traces.orbits.elements import element_set_of, read_elements
from traces.orbits.omm import parse_omm
from traces.orbits.orbit import ground_track
from traces.orbits.passes import find_passes
from traces.orbits.propagation import Fleet
from traces.orbits.walker import parse_walker, walker

DAY = datetime(2018, 1, 20, tzinfo=timezone.utc)

# As CelesTrak writes it (FORMAT=json); Space-Track writes each number as a string.
ISS = {
    "OBJECT_NAME": "ISS (ZARYA)",
    "OBJECT_ID": "1998-067A",
    "EPOCH": "2018-01-20T10:24:36.123456",
    "MEAN_MOTION": 15.54171,
    "ECCENTRICITY": 0.0003445,
    "INCLINATION": 51.6432,
    "RA_OF_ASC_NODE": 35.1034,
    "ARG_OF_PERICENTER": 12.4407,
    "MEAN_ANOMALY": 92.8137,
    "EPHEMERIS_TYPE": 0,
    "CLASSIFICATION_TYPE": "U",
    "NORAD_CAT_ID": 25544,
    "ELEMENT_SET_NO": 999,
    "REV_AT_EPOCH": 9532,
    "BSTAR": 3.6771e-5,
    "MEAN_MOTION_DOT": 1.67e-5,
    "MEAN_MOTION_DDOT": 0,
}


def positions_m(element_set, times_s=(0.0, 5000.0, 80_000.0)) -> np.ndarray:
    return Fleet([element_set], DAY).states(times_s).position_m


def test_an_omm_moves_as_sgp4s_own_reader_says():
    (element_set,) = parse_omm(json.dumps(ISS))
    assert (element_set.name, element_set.catalogue_number) == ("ISS (ZARYA)", "25544")
    assert element_set.epoch_utc == datetime(2018, 1, 20, 10, 24, 36, 123456, tzinfo=timezone.utc)
    theirs = Satrec()
    omm.initialize(theirs, ISS)
    for minutes in (0.0, 100.0, 1440.0):
        assert element_set.model().sgp4_tsince(minutes) == theirs.sgp4_tsince(minutes)


def test_strings_and_nine_digits_are_taken():
    strings = {key: str(value) for key, value in ISS.items()} | {"NORAD_CAT_ID": "799500001"}
    first, second = parse_omm(json.dumps([ISS, strings]))
    assert second.catalogue_number == "799500001"
    assert np.array_equal(positions_m(first), positions_m(second))


def test_recordings_take_an_omm_as_well_as_two_lines(tmp_path, dove):
    (tmp_path / "dove.json").write_text(json.dumps(export_omm(dove.model(), dove.name)))
    parser = argparse.ArgumentParser()
    add_recording_options(parser)
    options = [
        "pass.csv",
        "--tle",
        f"{tmp_path}/dove.json",
        "--satellite",
        dove.name,
        "--station",
        "Svalbard",
    ]
    assert assumptions(parser.parse_args(options)).elements.name == dove.name


def test_two_lines_and_their_omm_are_one_orbit(dove):
    (element_set,) = parse_omm(json.dumps(export_omm(dove.model(), dove.name)))
    assert positions_m(element_set) == pytest.approx(positions_m(dove), abs=0.05)  # an epoch of 1 us


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"MEAN_MOTION": None}, "record 1: expected MEAN_MOTION, 0.01 to 18; found 'None'"),
        ({"ECCENTRICITY": 1.2}, "ECCENTRICITY, 0 to 0.999999"),
        ({"INCLINATION": True}, "INCLINATION"),
        ({"BSTAR": "1_0"}, "BSTAR"),
        ({"EPOCH": "yesterday"}, "expected EPOCH like"),
        ({"EPOCH": None}, "expected EPOCH like"),
        ({"REF_FRAME": "GCRF"}, "expected REF_FRAME TEME; found 'GCRF'"),
        ({"MEAN_ELEMENT_THEORY": "SGP4-XP"}, "expected MEAN_ELEMENT_THEORY SGP4;"),
        ({"OBJECT_NAME": "two\nlines"}, "one line of text"),
    ],
)
def test_faults_of_an_omm_name_the_record(changes: dict[str, object], expected: str):
    with pytest.raises(TleError) as caught:
        parse_omm(json.dumps(ISS | changes), source="gp.json")
    assert str(caught.value).startswith("gp.json, record 1: ")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_content_tells_the_format(tmp_path: Path, dove):
    files = {
        "lines.tle": f"{dove.line1}\n{dove.line2}\n",
        "names.3le": f"0 {dove.name}\n{dove.line1}\n{dove.line2}\n",
        "gp.json": json.dumps([export_omm(dove.model(), dove.name)]),
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
        (element_set,) = read_elements(tmp_path / name)
        assert element_set.name == (dove.name if name != "lines.tle" else "41617")
        assert positions_m(element_set) == pytest.approx(positions_m(dove), abs=0.05)
    (tmp_path / "bad.json").write_text('[{"OBJECT_NAME": ')
    with pytest.raises(TleError, match=r"bad\.json, line 1: expected JSON"):
        read_elements(tmp_path / "bad.json")
    with pytest.raises(TleError, match=r"cannot read element sets .*none\.tle"):
        read_elements(tmp_path / "none.tle")


@given(
    st.recursive(st.none() | st.integers() | st.text(max_size=3), st.lists, max_leaves=5)
    | st.binary(max_size=60)
)
def test_any_content_gives_sets_or_a_tle_error(tmp_path_factory, content: object):
    path = tmp_path_factory.getbasetemp() / "fuzz.json"
    path.write_bytes(content if isinstance(content, bytes) else b"[" + json.dumps(content).encode() + b"]")
    with pytest.raises(TleError, match=r"fuzz\.json"):
        read_elements(path)


def test_the_header_of_a_trace_holds_an_omm_too(svalbard, dove):
    (element_set,) = parse_omm(json.dumps(export_omm(dove.model(), dove.name)))
    trace = make_trace(element_set, svalbard, DAY, 43_200)
    (again,) = parse_omm(trace.header.notes[0].removeprefix("elements: "))
    assert make_trace(again, svalbard, DAY, 43_200) == trace
    assert element_set_of(element_set) is element_set


def test_a_walker_constellation_is_spread_evenly():
    sets = walker(24, 3, 1, inclination_deg=53, altitude_m=550e3, epoch_utc=DAY)
    assert len(sets) == 24
    assert [sets[0].name, sets[23].name] == ["Walker 53:24/3/1 P1-S1", "Walker 53:24/3/1 P3-S8"]
    states = Fleet(sets, DAY).states([0.0])
    radius_m = np.linalg.norm(states.position_m[..., 0], axis=0)
    assert radius_m - 6_378_135 == pytest.approx(550e3, abs=12e3)
    # Neighbours in a plane are 45 degrees apart; the next plane's are 15 degrees ahead.
    unit = states.position_m[..., 0] / radius_m
    assert np.degrees(np.arccos(unit[:, 0] @ unit[:, 1])) == pytest.approx(45, abs=0.2)
    latitude, _ = (
        np.array(each) for each in zip(*(ground_track(one, DAY, [0.0]) for one in sets), strict=True)
    )
    assert latitude[0, 0] == pytest.approx(0, abs=0.15)
    assert np.sin(np.radians(latitude[8, 0])) == pytest.approx(
        np.sin(np.radians(53)) * np.sin(np.radians(15)), abs=5e-3
    )


def test_a_walker_constellation_has_passes(svalbard):
    sets = parse_walker("86.4:66/6/2@780star", DAY)
    table = find_passes(sets, [svalbard], DAY, 7200, elevation_mask_deg=8.2)
    # Iridium's point: at every moment one of them is in sight.
    times_s = np.arange(0, 7200, 10.0)
    assert ((times_s[:, None] >= table.aos_s) & (times_s[:, None] <= table.los_s)).any(1).all()


@pytest.mark.parametrize(
    "text",
    [
        "53:24/5/1@550",
        "53:24/3/3@550",
        "53:0/1/0@550",
        "253:24/3/1@550",
        "53:24/3/1@50",
        "53:24/3/1",
        "x",
        "..:1/1/0@.",
    ],
)
def test_walkers_that_cannot_be(text: str):
    with pytest.raises(OrbitError, match=r"no Walker constellation.*; expected "):
        parse_walker(text, DAY)
