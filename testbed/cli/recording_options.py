"""The options that say what a recording does not: the same for `trace convert` and for `replay`."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from traces.errors import TimeError, TraceInputError, UnitError
from traces.recordings.formats import FORMATS, OWN, read_recording
from traces.recordings.recording import Assumptions
from traces.units import parse_duration_s, parse_rate_bit_s, parse_share
from traces.utc import parse_utc

if TYPE_CHECKING:
    from traces.trace import Trace

T = TypeVar("T")

_ZONE = re.compile(r"([+-])(\d{2}):(\d{2})")


def add_recording_options(parser: argparse.ArgumentParser) -> None:
    """Add FILE and the options."""
    parser.add_argument("file", type=Path, metavar="FILE", help="a recording, or a trace")
    group = parser.add_argument_group("what the recording does not say")
    group.add_argument(
        "--from", dest="form", choices=[OWN, *FORMATS], metavar="FORMAT",
        help=f"its format, instead of a look at its content: {', '.join(FORMATS)}",
    )  # fmt: skip
    group.add_argument("--rate", metavar="RATE", help="download rate, or both ways: 20M, 250kbit/s, 2MB/s")
    group.add_argument("--up-rate", metavar="RATE", help="upload rate, if it is another")
    group.add_argument("--delay", metavar="TIME", help="one-way delay, both ways: 12ms")
    group.add_argument("--up-delay", metavar="TIME", help="one-way delay of the uplink, if it is another")
    group.add_argument("--delay-from", type=Path, metavar="FILE", help="a recording that holds the delay")
    group.add_argument("--range-delay", action="store_true", help="ION: the plan's whole light-seconds")
    group.add_argument("--loss", metavar="SHARE", help="loss of packets, both ways: 0.5%% (0)")
    group.add_argument("--up-file", type=Path, metavar="FILE", help="mahimahi: the trace of the uplink")
    group.add_argument("--start", metavar="UTC", help="when it began: 2024-01-11T10:06:39Z")
    group.add_argument("--zone", metavar="ZONE", help="zone of times without one: UTC, +01:00")
    group.add_argument("--satellite", metavar="NAME", help="the satellite's end; chooses among several")
    group.add_argument(
        "--station", metavar="NAME", help="the ground's end; with --tle: catalogue or lat,lon,alt"
    )
    group.add_argument(
        "--tle", type=Path, metavar="FILE", help="element sets, to compute the delay of contacts"
    )
    group.add_argument("--columns", metavar="LIST", help="plain CSV: time=1:unix-ms,down=dl:Mbit/s,rtt=3:ms")
    group.add_argument("--separator", default=",", metavar="C", help="plain CSV: between columns (,)")
    group.add_argument("--missing", action="append", type=float, default=[], metavar="N",
                       help="plain CSV: this is no value: --missing=-1")  # fmt: skip
    group.add_argument("--gaps", choices=["hold", "down", "close"], default="hold",
                       help="where nothing was measured: hold, no link, or cut out")  # fmt: skip
    group.add_argument(
        "--bin", default="100ms", metavar="TIME", help="mahimahi: count chances over this (100ms)"
    )
    group.add_argument(
        "--outage", default="1s", metavar="TIME", help="mahimahi: no link after this without any (1s)"
    )


def read_with_options(arguments: argparse.Namespace) -> Trace:
    """Read the file that the arguments name.

    Raises:
        TraceInputError: one line for the user.
    """
    return read_recording(
        arguments.file,
        assumptions(arguments),
        arguments.form,
        up_file=arguments.up_file,
        delay_file=arguments.delay_from,
    )


def assumptions(arguments: argparse.Namespace) -> Assumptions:
    """Return what the options say.

    Raises:
        TraceInputError: names the option.
    """
    rate = _given("--rate", parse_rate_bit_s, arguments.rate)
    delay = _given("--delay", parse_duration_s, arguments.delay)
    up_rate = _given("--up-rate", parse_rate_bit_s, arguments.up_rate)
    up_delay = _given("--up-delay", parse_duration_s, arguments.up_delay)
    bin_s, outage_s = parse_duration_s(arguments.bin), parse_duration_s(arguments.outage)
    if not 1e-3 <= bin_s <= 1e4:
        raise UnitError(f"--bin {arguments.bin}: expected 1ms or more")
    given = Assumptions(
        down_bit_s=rate,
        up_bit_s=rate if up_rate is None else up_rate,
        down_delay_s=delay,
        up_delay_s=delay if up_delay is None else up_delay,
        loss=_given("--loss", parse_share, arguments.loss),
        start_utc=_given("--start", parse_utc, arguments.start),
        zone=_given("--zone", parse_zone, arguments.zone),
        satellite=arguments.satellite,
        station=arguments.station,
        gaps=arguments.gaps,
        bin_s=bin_s,
        outage_s=outage_s,
        range_delay=arguments.range_delay,
        columns=arguments.columns,
        separator=arguments.separator,
        missing=tuple(arguments.missing),
    )
    return _with_orbit(given, arguments)


def _with_orbit(given: Assumptions, arguments: argparse.Namespace) -> Assumptions:
    if arguments.tle is None:
        return given
    from traces.orbits.elements import (
        find_satellite,
        read_elements,  # orbits are slow to import
    )
    from traces.orbits.stations import station

    if not arguments.satellite or not arguments.station:
        raise UnitError("--tle: expected --satellite and --station with it, to compute the delay")
    elements = find_satellite(read_elements(arguments.tle), arguments.satellite)
    return replace(given, elements=elements, place=station(arguments.station))


def parse_zone(text: str) -> timezone:
    """Read "UTC", "Z" or "+01:00".

    Raises:
        TimeError: none of these; names of places are not known everywhere.
    """
    if text.upper() in ("UTC", "Z"):
        return timezone.utc
    match = _ZONE.fullmatch(text)
    if not match or int(match[2]) > 14 or int(match[3]) > 59:
        raise TimeError(f"{text!r} is no zone; expected UTC or an offset such as +01:00")
    offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
    return timezone(-offset if match[1] == "-" else offset)


def _given(option: str, parse: Callable[[str], T], text: str | None) -> T | None:
    if text is None:
        return None
    try:
        return parse(text)
    except TraceInputError as fault:
        raise type(fault)(f"{option}: {fault}") from None
