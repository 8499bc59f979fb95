"""Ground stations: by name, by place, and out of range."""

from __future__ import annotations

import pytest

from traces.errors import StationError
from traces.orbits.stations import STATIONS, GroundStation, station


def test_every_station_is_found_by_its_name():
    assert len(STATIONS) >= 12
    for one in STATIONS:
        assert station(one.name.upper()) is one


def test_svalbard_is_where_it_is():
    svalbard = station("svalbard")
    assert svalbard.latitude_deg == pytest.approx(78.23, abs=0.02)
    assert svalbard.longitude_deg == pytest.approx(15.4, abs=0.1)
    assert station("SvalSat") is svalbard
    assert station("punta-arenas").name == "Punta Arenas"


def test_a_place_is_a_station():
    place = station(" -33.9, 151.2,20 ")
    assert place == GroundStation("-33.9, 151.2,20", -33.9, 151.2, 20.0)


def test_an_unknown_station_is_told_with_close_names():
    with pytest.raises(StationError, match="did you mean Svalbard") as caught:
        station("Svalbart")
    assert caught.value.exit_code == 2
    with pytest.raises(StationError, match="known: Svalbard, "):
        station("?")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90.1,0,0", "latitude 90.1 is out of range; expected -90 to 90 degrees"),
        ("0,361,0", "longitude 361 is out of range"),
        ("0,0,9001", "altitude 9001 is out of range"),
        ("0,0", "expected lat,lon,alt"),
        ("1,2,3,4", "expected lat,lon,alt"),
        ("1,,3", "expected lat,lon,alt"),
        ("1-1,2,3", "expected lat,lon,alt"),
        ("nan,0,0", "no ground station"),
    ],
)
def test_places_that_are_not_on_earth(text, expected):
    with pytest.raises(StationError) as caught:
        station(text)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("mask", [-6, 90, float("nan")])
def test_masks_out_of_range(mask):
    with pytest.raises(StationError, match="elevation mask"):
        GroundStation("x", 0, 0, 0, elevation_mask_deg=mask)
    with pytest.raises(StationError, match="latitude nan"):
        GroundStation("x", float("nan"), 0, 0)
