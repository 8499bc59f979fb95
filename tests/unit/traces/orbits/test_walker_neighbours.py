"""Neighbours of Walker constellations, against their distances."""

from __future__ import annotations

from datetime import datetime, timezone

import numpy as np
import pytest

from traces.errors import OrbitError
from traces.orbits.crosslink import crosslink
from traces.orbits.walker import neighbours, parse_walker

DAY = datetime(2018, 1, 20, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("text", "across", "count"),
    [
        ("53:8/1/0@1000", False, 8),
        ("53:2/1/0@1000", False, 1),
        ("53:24/3/1@550", False, 24),
        ("53:24/3/1@550", True, 48),
        ("53:3/3/0@550", True, 3),
        ("86.4:66/6/2@780star", True, 66 + 55),  # nothing crosses the seam
    ],
)
def test_a_ring_in_each_plane_and_rungs_between_planes(text: str, across: bool, count: int) -> None:
    pairs = neighbours(text, DAY, across=across)
    assert len(pairs) == len({frozenset(pair) for pair in pairs}) == count
    assert all(one != other for one, other in pairs)


def test_neighbours_across_planes_are_as_far_apart_all_around() -> None:
    text = "53:24/3/1@550"
    by_name = {one.name: one for one in parse_walker(text, DAY)}
    inside = {frozenset(pair) for pair in neighbours(text, DAY)}
    rungs = [pair for pair in neighbours(text, DAY, across=True) if frozenset(pair) not in inside]
    times_s = np.arange(0, 6000, 50.0)
    farthest_m = [crosslink(*(by_name[name] for name in pair), DAY, times_s).range_m.max() for pair in rungs]
    assert len(rungs) == 24
    assert max(farthest_m) < 1.02 * min(farthest_m)  # also from the last plane to the first


def test_what_is_no_constellation_is_refused() -> None:
    with pytest.raises(OrbitError, match="is no Walker constellation"):
        neighbours("ring of eight", DAY)
