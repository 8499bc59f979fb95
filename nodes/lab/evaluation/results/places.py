"""Groups of frames that show the same ground: the units that intervals are computed over.

Frames that overlap are not independent, so two of them tell less than two of distant places. Frames whose
footprints share more than OVERLAP of their area belong to one place, as do all frames that are linked by such
pairs. A data set without positions has a place per frame, or names its places itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from nodes.data.pairs import Footprint, Pair

OVERLAP = 0.2


def places_of(pairs: Sequence[Pair]) -> list[str]:
    """Return the place of each pair, named by one of its frames or by the data set."""
    first: dict[str, Pair] = {}
    for pair in pairs:
        first.setdefault(pair.frame, pair)
    parent = {frame: frame for frame in first}

    def root(frame: str) -> str:
        while parent[frame] != frame:
            frame = parent[frame]
        return frame

    frames = sorted(first)
    named: dict[str, str] = {}
    for number, frame in enumerate(frames):
        place, footprint = first[frame].place, first[frame].footprint
        if place:
            parent[root(frame)] = root(named.setdefault(place, frame))
        if footprint is None:
            continue
        for other in frames[:number]:
            theirs = first[other].footprint
            if theirs is not None and overlap(footprint, theirs) > OVERLAP:
                parent[root(frame)] = root(other)
    return [root(pair.frame) for pair in pairs]


def overlap(one: Footprint, other: Footprint) -> float:
    """Return the shared area of two footprints as a share of the smaller one."""
    tall = _shared(one.latitude_deg - other.latitude_deg, one.span_deg, other.span_deg)
    apart_deg = (one.longitude_deg - other.longitude_deg + 180) % 360 - 180
    wide = _shared(apart_deg, one.span_deg, other.span_deg)
    return tall * wide / min(one.span_deg, other.span_deg) ** 2


def _shared(apart: float, one: float, other: float) -> float:
    """Return the length that two intervals share whose centres are `apart`."""
    return max(0.0, min(one, other, (one + other) / 2 - abs(apart)))
