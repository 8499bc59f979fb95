"""Frames that overlap are one place."""

from __future__ import annotations

from pathlib import Path

import pytest

from nodes.data import EO_MINI
from nodes.data.pairs import Footprint, Pair, read_pairs
from nodes.lab.evaluation.results.places import overlap, places_of


def pair(frame: str, latitude_deg: float | None = None, longitude_deg: float = 0.0, place: str = "") -> Pair:
    footprint = None if latitude_deg is None else Footprint(latitude_deg, longitude_deg, 10.0)
    return Pair(f"p-{frame}", frame, Path(), "?", "", place=place, footprint=footprint)


def test_overlap_is_a_share_of_the_smaller_frame_and_goes_round_the_earth() -> None:
    assert overlap(Footprint(0, 0, 10), Footprint(0, 5, 10)) == pytest.approx(0.5)
    assert overlap(Footprint(0, 179, 10), Footprint(0, -176, 10)) == pytest.approx(0.5)
    assert overlap(Footprint(0, 0, 10), Footprint(0, 0, 2)) == 1
    assert overlap(Footprint(0, 0, 10), Footprint(10, 0, 10)) == 0


def test_frames_that_overlap_share_a_place_also_through_a_third() -> None:
    chain = [pair("a", 0.0), pair("b", 5.0), pair("c", 10.0), pair("d", 19.0), pair("e", 5.0, 60.0)]
    places = places_of([*chain, pair("a", 0.0)])
    assert places[0] == places[1] == places[2] == places[5]
    assert len(set(places)) == 3


def test_without_positions_each_frame_is_a_place_or_what_the_data_set_says() -> None:
    assert len(set(places_of([pair("a"), pair("b"), pair("a")]))) == 2
    named = places_of([pair("a", place="port"), pair("b", place="port"), pair("c", place="bay")])
    assert named[0] == named[1] != named[2]


def test_the_shipped_frames_are_few_places() -> None:
    assert len(set(places_of(read_pairs(EO_MINI)))) == 7
