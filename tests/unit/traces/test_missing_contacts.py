"""A pass without a contact has a reason: below the mask, or a radio link that does not close."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from testbed.cli.main import main
from testbed.errors import ScenarioError
from testbed.run.traces import link_trace
from testbed.scenario.model import Frame, GroundStation, Link, Orbit, Satellite, Scenario
from traces.make import make_trace, missing_contacts
from traces.orbits.orbit import ground_track
from traces.orbits.stations import station
from traces.orbits.tle import checksum, parse_tle
from traces.radio.link_budget import DOVE_S_BAND_UPLINK, DOVE_X_BAND

HEO = """1 17328U 87008A   24305.23833080  .00000500  00000-0  22722-2 0  9997
2 17328  63.0833   7.8955 7415190 253.9972  19.6892  2.00632911273252
"""
HEO_DAY = datetime(2024, 10, 31, tzinfo=timezone.utc)
STRONG_DOWN = replace(DOVE_X_BAND, eirp_dbw=80.0)
STRONG_UP = replace(DOVE_S_BAND_UPLINK, eirp_dbw=120.0)


def geostationary() -> str:
    lines = HEO.splitlines()
    second = "2 17328   0.0100   7.8955 0001000 253.9972  19.6892  1.00270000273252"[:68]
    return f"{lines[0]}\n{second}{checksum(second + ' ')}\n"


@pytest.fixture
def los_angeles():
    return station("33,-118,30")


def test_a_satellite_beyond_the_radio_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "heo.tle").write_text(HEO)
    options = ["--tle", str(tmp_path / "heo.tle"), "--satellite", "17328", "--station", "33,-118,30"]
    assert main(["trace", "make", *options, "-o", str(tmp_path / "out.csv")]) == 0
    error = capsys.readouterr().err
    assert error.startswith(
        "spaceverse: warning: 17328 has no two-way contact over 33,-118,30: it is above the elevation mask"
        " for 40565 s (up to 89.4°), but the downlink does not close at its distance of at least 6001 km;"
        " choose another --radio\n"
    )
    assert "lower --mask" not in error


@pytest.mark.parametrize(
    ("downlink", "uplink", "expected"),
    [
        (DOVE_X_BAND, DOVE_S_BAND_UPLINK, "the downlink and the uplink do not close"),
        (STRONG_DOWN, DOVE_S_BAND_UPLINK, "the uplink does not close"),
        (DOVE_X_BAND, STRONG_UP, "the downlink does not close"),
        (STRONG_DOWN, STRONG_UP, None),
    ],
)
def test_the_direction_that_does_not_close_is_named(downlink, uplink, expected):
    (elements,) = parse_tle(geostationary())
    radios = {"downlink": downlink, "uplink": uplink}
    place = _below(elements)
    trace = make_trace(elements, place, HEO_DAY, 86_400, **radios, step_s=60)
    missing = missing_contacts(trace, elements, place, **radios)
    if expected is None:
        assert missing is None
        assert trace.contacts("both")
    else:
        assert missing is not None
        assert (missing.passes, missing.silent) == (1, 1)
        assert expected in missing.reason


def _below(elements):
    latitude, longitude = ground_track(elements, HEO_DAY, [43_200.0])
    return station(f"{latitude[0]:.3f},{longitude[0]:.3f},0")


def test_a_satellite_below_the_mask_is_told(los_angeles):
    (elements,) = parse_tle(HEO)
    begin = HEO_DAY + timedelta(hours=18)
    trace = make_trace(elements, los_angeles, begin, 3600)
    missing = missing_contacts(trace, elements, los_angeles)
    assert missing is not None
    assert missing.passes == 0
    assert missing.reason.startswith("it stays below the elevation mask of 5° (highest elevation: ")


def test_single_passes_without_a_contact_are_counted(dove, svalbard, day):
    weak = replace(DOVE_X_BAND, eirp_dbw=DOVE_X_BAND.eirp_dbw - 13)
    trace = make_trace(dove, svalbard, day, 86_400, downlink=weak)
    missing = missing_contacts(trace, dove, svalbard, downlink=weak)
    assert missing is not None
    assert 0 < len(trace.contacts("both")) == missing.passes - missing.silent < missing.passes
    assert "the downlink does not close" in missing.reason
    assert missing_contacts(make_trace(dove, svalbard, day, 86_400), dove, svalbard) is None


def test_a_scenario_names_the_reason(tmp_path: Path):
    (tmp_path / "heo.tle").write_text(HEO)
    follows = Orbit(elements=tmp_path / "heo.tle", start=HEO_DAY, length_s=86_400)
    frame = Frame(frame="0", image=tmp_path / "image.png", prompt="ship?", truth="yes", capture_s=0)
    scenario = Scenario(
        name="heo",
        satellites=(Satellite(name="17328", model="m", frames=(frame,)),),
        stations=(GroundStation(name="LA", place="33,-118,30", model="m"),),
        links=(Link(satellite="17328", station="LA", follows=follows),),
    )
    with pytest.raises(ScenarioError, match=r"no contact within .* the downlink does not close"):
        link_trace(scenario, scenario.links[0])
