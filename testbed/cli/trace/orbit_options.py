"""The options of commands that need satellites, stations and a time window."""

from __future__ import annotations

import argparse
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from testbed.cli.units import DURATION, UTC
from traces.errors import OrbitError

if TYPE_CHECKING:  # the command line starts without orbits
    from traces.orbits.element_set import ElementSet
    from traces.orbits.stations import GroundStation


def _hours(text: str) -> float:
    return DURATION(f"{text}h")


def add_orbit_options(parser: argparse.ArgumentParser, *, many: bool) -> None:
    """Add the options.

    Args:
        parser: parser of the command.
        many: accept several satellites and stations instead of one of each.
    """
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--tle",
        type=Path,
        metavar="FILE",
        help="element sets: TLE, 3LE or OMM in JSON, CSV, XML or KVN (default: 188 Planet Flock satellites,"
        " January 2018)",
    )
    source.add_argument(
        "--walker",
        metavar="I:T/P/F@KM",
        help="Walker constellation, such as 53:1584/72/39@550 or 86.4:66/6/2@780star; requires --start",
    )
    action = "append" if many else "store"
    parser.add_argument(
        "--satellite",
        required=not many,
        action=action,
        metavar="NAME",
        help="name or catalogue number" + ("; may be repeated (default: all)" if many else ""),
    )
    other = parser.add_mutually_exclusive_group(required=True)
    other.add_argument(
        "--crosslink",
        action=action,
        metavar="NAME",
        help="another satellite instead of a station, in line of sight past the Earth"
        + ("; may be repeated" if many else ""),
    )
    other.add_argument(
        "--station",
        action=action,
        metavar="NAME",
        help="station of the catalogue, or lat,lon,alt (degrees, m), such as -33.9,18.4,10"
        + ("; may be repeated; `all` is the whole catalogue" if many else ""),
    )
    parser.add_argument(
        "--start",
        type=UTC,
        metavar="UTC",
        help="start of the window, such as 2018-01-20T00:00:00Z (default: midnight of the elements' day)",
    )
    parser.add_argument(
        "--duration",
        type=DURATION,
        default=86_400.0,
        metavar="DURATION",
        help="length of the window (default: 24h)",
    )
    # Version 0.1.0 had these; scripts still may.
    parser.add_argument("--hours", dest="duration", type=_hours, metavar="H", help=argparse.SUPPRESS)
    parser.add_argument(
        "--seconds", dest="duration", type=DURATION, metavar="DURATION", help=argparse.SUPPRESS
    )
    parser.add_argument(
        "--grazing",
        type=float,
        metavar="KM",
        help="with --crosslink: lowest altitude of the line of sight (default: 100)",
    )
    for option, unit, what in (("range", "KM", "longest distance"), ("slew", "DEG_S", "fastest turn")):
        parser.add_argument(
            f"--max-{option}", type=float, metavar=unit, help=f"with --crosslink: {what} (default: any)"
        )
    parser.add_argument(
        "--mask", type=float, metavar="DEG", help="elevation mask of a contact (default: that of the station)"
    )


def satellites_of(arguments: argparse.Namespace) -> list[ElementSet]:
    """Return the selected satellites; without --satellite, all of the file.

    Of several element sets of a satellite, the nearest to --start is returned, by default the newest.

    Raises:
        TleError: the file is invalid, or has no satellite of a name.
        OrbitError: the Walker constellation is invalid, or --start is missing.
    """
    from traces.orbits.elements import find_satellite, one_set_each

    element_sets, at_utc = _element_sets(arguments), arguments.start
    names = arguments.satellite
    if names is None:
        return one_set_each(element_sets, at_utc=at_utc)
    names = [names] if isinstance(names, str) else names
    return [find_satellite(element_sets, name, at_utc=at_utc) for name in names]


def crosslinked_of(arguments: argparse.Namespace) -> list[ElementSet]:
    """Return the satellites at the other ends of crosslinks, from the same source.

    Raises:
        TleError: no satellite has this name.
        OrbitError: --mask is set, which applies to stations only.
    """
    from traces.orbits.elements import find_satellite

    if arguments.mask is not None:
        raise OrbitError("--mask requires --station; with --crosslink use --grazing KM")
    names = [arguments.crosslink] if isinstance(arguments.crosslink, str) else arguments.crosslink
    element_sets = _element_sets(arguments)
    return [find_satellite(element_sets, name, at_utc=arguments.start) for name in names]


class SightLimits(TypedDict):
    """The arguments of `sight` that limit a crosslink."""

    grazing_altitude_m: float
    max_range_m: float | None
    max_slew_deg_s: float | None


def sight_limits_of(arguments: argparse.Namespace) -> SightLimits:
    """Return the limits of a crosslink."""
    from traces.orbits.crosslink import GRAZING_ALTITUDE_M

    return {
        "grazing_altitude_m": GRAZING_ALTITUDE_M if arguments.grazing is None else arguments.grazing * 1e3,
        "max_range_m": None if arguments.max_range is None else arguments.max_range * 1e3,
        "max_slew_deg_s": arguments.max_slew,
    }


def _element_sets(arguments: argparse.Namespace) -> list[ElementSet]:
    from traces.orbits.elements import read_elements
    from traces.orbits.tle import FLOCK_TLE
    from traces.orbits.walker import parse_walker

    if arguments.walker is not None:
        if arguments.start is None:
            raise OrbitError("--walker requires a date; add --start, such as 2018-01-20T00:00:00Z")
        return parse_walker(arguments.walker, arguments.start)
    return read_elements(arguments.tle or FLOCK_TLE)


def stations_of(arguments: argparse.Namespace) -> list[GroundStation]:
    """Return the selected stations.

    Raises:
        StationError: no station has this name.
        OrbitError: --grazing, --max-range or --max-slew is set, which apply to crosslinks only.
    """
    for option in ("grazing", "max_range", "max_slew"):
        if getattr(arguments, option) is not None:
            name = option.replace("_", "-")
            raise OrbitError(f"--{name} requires --crosslink; with --station use --mask DEG")
    from traces.orbits.stations import STATIONS, station

    names = [arguments.station] if isinstance(arguments.station, str) else arguments.station
    return [place for name in names for place in (STATIONS if name.lower() == "all" else [station(name)])]


def window_of(arguments: argparse.Namespace, satellite: ElementSet) -> tuple[datetime, float]:
    """Return start and length in seconds; without --start, the day of the satellite's elements."""
    if arguments.start is None:
        return satellite.epoch_utc.replace(hour=0, minute=0, second=0, microsecond=0), arguments.duration
    return arguments.start, arguments.duration
