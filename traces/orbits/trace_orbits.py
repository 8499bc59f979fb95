"""The orbits and the station that a computed trace holds in the notes of its header."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from traces.errors import OrbitError
from traces.orbits.element_set import ElementSet
from traces.orbits.elements import parse_elements
from traces.orbits.stations import GroundStation
from traces.trace import TraceHeader

ELEMENTS_NOTE = "elements: "
_STATION = re.compile(r"station: (\S+), (\S+), (\S+) m, elevation mask (\S+) deg")


@dataclass(frozen=True)
class TraceOrbits:
    """The ends of a trace that was computed from orbits.

    Args:
        satellites: the satellite, or the two satellites of a crosslink, under their names in the trace.
        station: the station; None for a crosslink.
    """

    satellites: tuple[ElementSet, ...]
    station: GroundStation | None


def orbits_of(header: TraceHeader) -> TraceOrbits | None:
    """Return the orbits and the station in a trace's header; None if the trace follows no orbit.

    Raises:
        OrbitError: the notes of the header are damaged.
    """
    lines = [note.removeprefix(ELEMENTS_NOTE) for note in header.notes if note.startswith(ELEMENTS_NOTE)]
    if not lines:
        return None
    found = parse_elements("\n".join(lines) + "\n", f"trace of {header.satellite}")
    places = [match for note in header.notes if (match := _STATION.fullmatch(note))]
    names = [header.satellite] if places else [header.satellite, header.station]
    if len(found) != len(names):
        raise OrbitError(
            f"the header of the trace of {header.satellite} has {len(found)} element sets and {len(places)} "
            "stations; make the trace again"
        )
    satellites = tuple(replace(one, name=name) for one, name in zip(found, names, strict=True))
    if not places:
        return TraceOrbits(satellites, None)
    return TraceOrbits(satellites, GroundStation(header.station, *map(float, places[0].groups())))
