"""The options of commands that read a recording, for values that the recording lacks."""

from __future__ import annotations

import argparse
import re
import warnings
from dataclasses import replace
from datetime import datetime, timedelta, timezone, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any

from testbed.cli.units import DURATION, RATE, SHARE, UTC, option_type
from traces.errors import TimeError, UnitError
from traces.recordings.formats import FORMATS, form_of, form_of_delays, read_recording
from traces.recordings.options import OWN, check_options
from traces.recordings.recording import Assumptions
from traces.units import DURATION_UNITS_S

if TYPE_CHECKING:
    from traces.trace import Trace

_FIELDS = {
    "rate_bit_s": "rate",
    "down_bit_s": "down_rate",
    "up_bit_s": "up_rate",
    "delay_s": "delay",
    "down_delay_s": "down_delay",
    "up_delay_s": "up_delay",
    "loss": "loss",
    "down_loss": "down_loss",
    "up_loss": "up_loss",
    "start_utc": "start",
    "zone": "zone",
    "satellite": "satellite",
    "station": "station",
    "gaps": "gaps",
    "bin_s": "bin",
    "outage_s": "outage",
    "interval_s": "interval",
    "loop_s": "loop",
    "delay_unit": "delay_unit",
    "range_delay": "range_delay",
    "columns": "columns",
    "separator": "separator",
    "missing": "missing",
}
"""Fields of Assumptions, and the options that give them."""
_LONG_DELAY_S = 2.0  # one-way; the Moon is at 1.3 s
_ZONE = re.compile(r"([+-])(\d{2}):(\d{2})")


def parse_zone(text: str) -> timezone:
    """Read a time zone: "UTC", "Z" or an offset such as "+01:00".

    Raises:
        TimeError: none of these. Names of places are not accepted, since not every system knows them.
    """
    if text.upper() in ("UTC", "Z"):
        return timezone.utc
    match = _ZONE.fullmatch(text)
    if not match or int(match[2]) > 14 or int(match[3]) > 59:
        raise TimeError(f"{text!r} is not a time zone; expected UTC or an offset such as +01:00 or -04:00")
    offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
    return timezone(-offset if match[1] == "-" else offset)


ZONE = option_type("ZONE", parse_zone)


class _NotedZone(tzinfo):
    """A time zone that notes whether any time was in it."""

    def __init__(self, zone: tzinfo) -> None:
        self._zone, self.used = zone, False

    def utcoffset(self, moment: datetime | None) -> timedelta | None:
        self.used = True
        return self._zone.utcoffset(moment)

    def dst(self, moment: datetime | None) -> timedelta | None:
        return self._zone.dst(moment)

    def tzname(self, moment: datetime | None) -> str | None:
        return self._zone.tzname(moment)


def add_recording_options(parser: argparse.ArgumentParser) -> None:
    """Add FILE and the options."""
    parser.add_argument("file", type=Path, metavar="FILE", help="recording or trace")
    _add_general_options(parser.add_argument_group("values that the recording lacks"))
    _add_format_options(parser.add_argument_group("options of single formats"))


def _add_general_options(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--from",
        dest="form",
        choices=[OWN, *FORMATS],
        metavar="FORMAT",
        help=f"format of FILE (default: detected from its content): {', '.join((OWN, *FORMATS))}",
    )
    for name, kind, metavar, example in (
        ("rate", RATE, "RATE", "20M, 250kbit/s or 2MB/s"),
        ("delay", DURATION, "DURATION", "12ms (one-way)"),
        ("loss", SHARE, "SHARE", "0.5%% (default: 0)"),
    ):
        add(
            f"--{name}", type=kind, metavar=metavar, help=f"{name} where none was recorded, such as {example}"
        )
        add(
            f"--down-{name}",
            type=kind,
            metavar=metavar,
            help=f"{name} of the downlink, also in place of a recorded one",
        )
        add(
            f"--up-{name}",
            type=kind,
            metavar=metavar,
            help=f"{name} of the uplink, also in place of a recorded one",
        )
    add("--loop", type=DURATION, metavar="DURATION", help="repeat the recording until it lasts this long")
    add("--delay-from", dest="delay_file", type=Path, metavar="FILE", help="recording to read the delay from")
    add("--start", type=UTC, metavar="UTC", help="start time, such as 2024-01-11T10:06:39Z")
    add(
        "--zone",
        type=ZONE,
        metavar="ZONE",
        help="time zone of times without one: UTC or an offset such as +01:00 or -04:00",
    )
    add("--satellite", metavar="NAME", help="name of the satellite; selects one if FILE has several")
    add("--station", metavar="NAME", help="name of the station; with --tle also lat,lon,alt (degrees, m)")
    add("--tle", type=Path, metavar="FILE", help="element sets to compute the delay of contacts from")
    add(
        "--gaps",
        choices=["hold", "down", "close"],
        help="treatment of gaps in the measurement: hold the last values, take the link down, or close the"
        " gap by removing its time (default: hold)",
    )


def _add_format_options(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--columns", metavar="LIST", help="CSV: columns, such as time=1:unix-ms,down=dl:Mbit/s,rtt=3:ms")
    add(
        "--separator",
        metavar="CHAR",
        help="CSV: separator between columns, or tab or space (default: the one in its first line)",
    )
    add(
        "--missing",
        action="append",
        type=float,
        default=[],
        metavar="NUMBER",
        help="CSV: number that stands for a missing value, such as --missing=-1; may be repeated",
    )
    add(
        "--bin",
        type=DURATION,
        metavar="DURATION",
        help="mahimahi: count transmission opportunities over this time (default: 100ms)",
    )
    add(
        "--outage",
        type=DURATION,
        metavar="DURATION",
        help="mahimahi, ping, LENS, Starlink dish: take the link down after this time without"
        " opportunities or answers (default: 1s)",
    )
    add(
        "--delay-unit",
        choices=list(DURATION_UNITS_S),
        help="LeoReplayer: unit of the integers in the file of delays (default: ms)",
    )
    add(
        "--interval",
        type=DURATION,
        metavar="DURATION",
        help="ping, speedtest: time between two probes or tests, if the file has no times",
    )
    add("--up-file", type=Path, metavar="FILE", help="mahimahi: recording of the uplink")
    add("--range-delay", action="store_true", help="ION: use the plan's ranges, in whole light-seconds")


def read_with_options(arguments: argparse.Namespace) -> Trace:
    """Read the recording that the arguments name.

    Raises:
        TraceInputError: the recording or an option is invalid.
    """
    values = assumptions(arguments)
    form = arguments.form or form_of(arguments.file, arguments.columns)
    delay_form = None if arguments.delay_file is None else form_of_delays(arguments.delay_file)
    # Also names options that repeat a default, which `read_recording` cannot tell from those left out.
    check_options(str(arguments.file), form, _given_fields(arguments), delay_form)
    zone = None if values.zone is None else _NotedZone(values.zone)
    trace = read_recording(
        arguments.file,
        replace(values, zone=zone),
        arguments.form,
        up_file=arguments.up_file,
        delay_file=arguments.delay_file,
    )
    if zone is not None and not zone.used:
        raise UnitError(f"{arguments.file}: --zone has no effect: no time in it lacks a zone; omit it")
    return trace


def assumptions(arguments: argparse.Namespace) -> Assumptions:
    """Return the values of the options.

    Raises:
        TraceInputError: an option is out of range, or two options do not fit together.
    """
    if arguments.bin is not None and not 1e-3 <= arguments.bin <= 1e4:
        raise UnitError(f"--bin {arguments.bin:g}: expected 1ms to 10000s")
    for option in ("delay", "down_delay", "up_delay"):
        delay_s = getattr(arguments, option)
        if delay_s is not None and delay_s >= _LONG_DELAY_S:
            name, number = option.replace("_", "-"), f"{delay_s:g}"
            warnings.warn(f"--{name} is {number} s; write {number}ms for milliseconds", stacklevel=2)
    values = Assumptions(**{field: _value(arguments, field) for field in _given_fields(arguments)})
    return _with_orbit(values, arguments)


def _given_fields(arguments: argparse.Namespace) -> set[str]:
    """Return the fields of Assumptions that have an option on the command line."""
    values = {field: _value(arguments, field) for field in _FIELDS}
    return {
        field for field, value in values.items() if value is not None and value is not False and value != ()
    }


def _value(arguments: argparse.Namespace, field: str) -> Any:
    value = getattr(arguments, _FIELDS[field])
    return tuple(value) if isinstance(value, list) else value


def _with_orbit(values: Assumptions, arguments: argparse.Namespace) -> Assumptions:
    if arguments.tle is None:
        return values
    from traces.orbits.elements import find_satellite, read_elements  # orbits are slow to import
    from traces.orbits.stations import station

    if not arguments.satellite or not arguments.station:
        raise UnitError("--tle requires --satellite and --station, to compute the delay")
    elements = find_satellite(read_elements(arguments.tle), arguments.satellite, at_utc=arguments.start)
    return replace(values, elements=elements, place=station(arguments.station))
