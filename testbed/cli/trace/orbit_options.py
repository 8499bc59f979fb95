"""Options of commands that need satellites, stations and a window of time."""

from __future__ import annotations

import argparse
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from traces.errors import OrbitError, TimeError
from traces.utc import parse_utc

if TYPE_CHECKING:  # the command line starts without orbits
    from traces.orbits.element_set import ElementSet
    from traces.orbits.stations import GroundStation


def add_orbit_options(parser: argparse.ArgumentParser, *, many: bool) -> None:
    """Add the options: `many` satellites and stations, or one of each."""
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--tle",
        type=Path,
        metavar="FILE",
        help="element sets: TLE, 3LE or OMM (JSON); else 188 Planet Flock, January 2018",
    )
    source.add_argument(
        "--walker",
        metavar="I:T/P/F@KM",
        help="a Walker constellation made up: 53:1584/72/39@550, 86.4:66/6/2@780star; needs --start",
    )
    action = "append" if many else "store"
    parser.add_argument(
        "--satellite",
        required=not many,
        action=action,
        metavar="NAME",
        help="name or catalogue number" + ("; may be repeated; all when none is named" if many else ""),
    )
    other = parser.add_mutually_exclusive_group(required=True)
    other.add_argument(
        "--crosslink",
        action=action,
        metavar="NAME",
        help="another satellite instead of a station: line of sight past the Earth"
        + ("; may be repeated" if many else ""),
    )
    other.add_argument(
        "--station",
        action=action,
        metavar="NAME",
        help="a station of the catalogue, or lat,lon,alt (degrees, m)"
        + ("; may be repeated; `all` for the whole catalogue" if many else ""),
    )
    parser.add_argument("--start", metavar="UTC", help="2018-01-20T00:00:00Z (0 h of the elements' day)")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--hours", type=float, default=24.0, metavar="H", help="length of the window (24)")
    length.add_argument("--seconds", type=float, metavar="S", help="the same in seconds")
    parser.add_argument(
        "--grazing",
        type=float,
        metavar="KM",
        help="with --crosslink: least height of the line of sight above the Earth (100)",
    )
    parser.add_argument("--mask", type=float, metavar="DEG", help="elevation mask (the station's own)")


def satellites_of(arguments: argparse.Namespace) -> list[ElementSet]:
    """Return the satellites that were named; all of the file when none was.

    Raises:
        TleError: the file does not hold, or no satellite of it has that name.
        OrbitError: no such Walker constellation.
        TimeError: one without a start, or the start is no time.
    """
    from traces.orbits.elements import find_satellite

    element_sets = _element_sets(arguments)
    names = arguments.satellite
    if names is None:
        return element_sets
    return [find_satellite(element_sets, name) for name in ([names] if isinstance(names, str) else names)]


def crosslinked_of(arguments: argparse.Namespace) -> list[ElementSet]:
    """Return the satellites at the other ends of crosslinks, from the same source.

    Raises:
        TleError: none of that name.
        OrbitError: --mask, which belongs to stations.
    """
    from traces.orbits.elements import find_satellite

    if arguments.mask is not None:
        raise OrbitError("--mask is a station's; with --crosslink say --grazing KM")
    names = [arguments.crosslink] if isinstance(arguments.crosslink, str) else arguments.crosslink
    element_sets = _element_sets(arguments)
    return [find_satellite(element_sets, name) for name in names]


def grazing_altitude_m_of(arguments: argparse.Namespace) -> float:
    """Return the least height of a crosslink's line of sight."""
    from traces.orbits.crosslink import GRAZING_ALTITUDE_M

    return GRAZING_ALTITUDE_M if arguments.grazing is None else float(arguments.grazing * 1e3)


def _element_sets(arguments: argparse.Namespace) -> list[ElementSet]:
    from traces.orbits.elements import read_elements
    from traces.orbits.tle import FLOCK_TLE
    from traces.orbits.walker import parse_walker

    if arguments.walker is not None:
        if arguments.start is None:
            raise OrbitError("--walker has no date of its own; add --start, such as 2018-01-20T00:00:00Z")
        return parse_walker(arguments.walker, _start(arguments))
    return read_elements(arguments.tle or FLOCK_TLE)


def stations_of(arguments: argparse.Namespace) -> list[GroundStation]:
    """Return the stations that were named.

    Raises:
        StationError: there is none of that name.
        OrbitError: --grazing, which belongs to crosslinks.
    """
    if arguments.grazing is not None:
        raise OrbitError("--grazing belongs to --crosslink; with --station say --mask DEG")
    from traces.orbits.stations import STATIONS, station

    names = [arguments.station] if isinstance(arguments.station, str) else arguments.station
    return [one for name in names for one in (STATIONS if name.lower() == "all" else [station(name)])]


def window_of(arguments: argparse.Namespace, satellite: ElementSet) -> tuple[datetime, float]:
    """Return start and length, seconds; without a start, 0 h of the day of the satellite's elements.

    Raises:
        TimeError: the start is no time.
    """
    length_s = arguments.hours * 3600 if arguments.seconds is None else arguments.seconds
    if arguments.start is None:
        return satellite.epoch_utc.replace(hour=0, minute=0, second=0, microsecond=0), length_s
    return _start(arguments), length_s


def _start(arguments: argparse.Namespace) -> datetime:
    try:
        return parse_utc(arguments.start)
    except TimeError as fault:
        raise TimeError(f"--start: {fault}") from None
