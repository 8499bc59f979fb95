"""`spaceverse trace make`: compute a trace from orbits and a link budget."""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypedDict

from testbed.cli.terminal.messages import say
from testbed.cli.trace.orbit_options import (
    add_orbit_options,
    crosslinked_of,
    satellites_of,
    sight_limits_of,
    stations_of,
    window_of,
)
from testbed.cli.trace.output_options import add_output_options, check_replaceable, report_stream, wrote
from testbed.cli.units import DURATION, RATE, option_type
from traces.errors import LinkBudgetError, OrbitError, UnitError
from traces.units import parse_share

if TYPE_CHECKING:
    from traces.radio.link_budget import RadioLink
    from traces.trace import Trace

_EXAMPLES = """examples:
  spaceverse trace make --satellite "FLOCK 2P-1" --station Svalbard \\
      --start 2018-01-20T00:00:00Z --duration 24h --rate-cap 4M -o day.csv
  spaceverse trace make --satellite 41617 --station Svalbard --mask 10 \\
      --pass 1 --lead 20 -o pass.csv
  spaceverse trace make --tle mine.tle --satellite MYSAT \\
      --station 52.1,4.3,10 --duration 6h -o mine.csv
  spaceverse trace make --satellite "FLOCK 2P-1" --crosslink "FLOCK 2K-13" \\
      --eirp 40 --rate-cap 10M -o isl.csv
  spaceverse trace make --walker 53:24/3/1@550 --start 2018-01-20T00:00:00Z \\
      --satellite "Walker 53:24/3/1 P1-S1" \\
      --crosslink "Walker 53:24/3/1 P2-S1" \\
      --rate 100M --max-range 5000 --max-slew 1 -o optical.csv
"""
_LONGEST_MARGIN_S = 86_400.0


class _LinkOptions(TypedDict):
    """The arguments of `make_trace` that decide which passes are contacts."""

    downlink: RadioLink
    uplink: RadioLink
    elevation_mask_deg: float | None


def _percentage(text: str) -> float:
    """Return a share in percent; the unit is required, since 0.1 might mean 0.1 % or 10 %."""
    if not text.rstrip().endswith(("%", "percent")):
        raise UnitError(f"{text!r} has no unit; write a percentage such as 0.1%")
    return round(parse_share(text) * 100, 9)


def add_parser(subparsers: Any) -> None:
    """Add the subcommand `make`."""
    parser = subparsers.add_parser(
        "make",
        help="compute a trace from one or two orbits and a link budget",
        description="Compute the trace of a link between a satellite and a station or another satellite.",
        epilog=_EXAMPLES,
    )
    add_orbit_options(parser, many=False)
    parser.add_argument("--pass", dest="pass_number", type=int, metavar="N", help="only the Nth pass, from 1")
    parser.add_argument(
        "--lead",
        type=DURATION,
        default=0.0,
        metavar="DURATION",
        help="with --pass: time before AOS (default: 0)",
    )
    parser.add_argument(
        "--tail",
        type=DURATION,
        default=0.0,
        metavar="DURATION",
        help="with --pass: time after LOS (default: 0)",
    )
    parser.add_argument(
        "--step", type=DURATION, default=1.0, metavar="DURATION", help="time between rows (default: 1s)"
    )
    _add_radio_options(parser)
    add_output_options(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_run)


def _add_radio_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("radio")
    group.add_argument(
        "--radio",
        default="dove",
        metavar="NAME",
        help="preset of the link budget: dove, cubesat-s-band, cubesat-uhf or starlink-like (default: dove)",
    )
    group.add_argument(
        "--eirp",
        type=float,
        metavar="DBW",
        help="with --crosslink: EIRP of both satellites (default: that of the preset's satellite)",
    )
    group.add_argument(
        "--rate",
        type=RATE,
        metavar="RATE",
        help="with --crosslink: fixed rate both ways, as of optical terminals, instead of a link budget",
    )
    group.add_argument(
        "--weather",
        type=option_type("SHARE", _percentage),
        metavar="SHARE",
        help="attenuation that is exceeded for this share of a year, such as 0.1%% (ITU-R P.618; needs the"
        " package itur; default: clear sky)",
    )
    group.add_argument("--rate-cap", type=RATE, metavar="RATE", help="highest downlink rate, such as 4M")
    group.add_argument("--up-rate-cap", type=RATE, metavar="RATE", help="highest uplink rate")


def _run(arguments: argparse.Namespace) -> int:
    from testbed.cli.trace.description import described, up_time
    from traces.trace_file import write_trace

    check_replaceable(arguments)
    trace = _station_trace(arguments) if arguments.crosslink is None else _crosslink_trace(arguments)
    write_trace(trace, arguments.output)
    report = described(trace)
    if arguments.json:
        print(json.dumps({"file": str(arguments.output), **report}, indent=2))
        return 0
    say(
        f"{wrote(arguments.output)}: {trace.header.satellite} over {trace.header.station},"
        f" {len(report['contacts'])} contacts, {up_time(trace, '.0f')}, {len(trace)} rows",
        report_stream(arguments.output),
    )
    return 0


def _station_trace(arguments: argparse.Namespace) -> Trace:
    """Make the trace between a satellite and a ground station."""
    from traces.make import make_trace, missing_contacts  # orbits are slow to import
    from traces.orbits.passes import passes_over
    from traces.radio.link_budget import preset

    radio = preset(arguments.radio)
    for option in ("eirp", "rate"):
        if getattr(arguments, option) is not None:
            raise LinkBudgetError(
                f"--{option} requires --crosslink; with --station choose a preset by --radio"
            )
    (satellite,), (station,) = satellites_of(arguments), stations_of(arguments)
    start_utc, length_s = window_of(arguments, satellite)
    if arguments.pass_number is not None:
        found = passes_over(satellite, station, start_utc, length_s, elevation_mask_deg=arguments.mask)
        edges = [(contact.aos_s, contact.los_s) for contact in found]
        what = f"{satellite.name} over {station.name}"
        start_utc, length_s = _pass_window(arguments, what, edges, start_utc)
    else:
        _refuse_lead_and_tail(arguments)
    link: _LinkOptions = {
        "downlink": _capped(radio.downlink, arguments.rate_cap).in_weather(arguments.weather),
        "uplink": _capped(radio.uplink, arguments.up_rate_cap).in_weather(arguments.weather),
        "elevation_mask_deg": arguments.mask,
    }
    trace = make_trace(satellite, station, start_utc, length_s, **link, step_s=arguments.step)
    missing = missing_contacts(trace, satellite, station, **link)
    if missing is not None:
        whose = f"{satellite.name} over {station.name}"
        what = "two-way contact" if len(trace.contacts()) > len(trace.contacts("both")) else "contact"
        if trace.contacts("both"):
            subject = f"{missing.silent} of {missing.passes} passes of {whose} have no {what}"
        else:
            subject = f"{satellite.name} has no {what} over {station.name}"
        fix = "choose another --radio" if missing.passes else "lower --mask or set a longer --duration"
        warnings.warn(f"{subject}: {missing.reason}; {fix}", stacklevel=2)
    return trace


def _crosslink_trace(arguments: argparse.Namespace) -> Trace:
    """Make the trace between two satellites, which use the same radio."""
    from traces.orbits.crosslink import make_crosslink_trace, sight  # orbits are slow to import
    from traces.radio.link_budget import preset

    radio = preset(arguments.radio).downlink
    if arguments.weather is not None:
        raise LinkBudgetError("--weather requires --station: there is no weather between satellites")
    (first,), (second,) = satellites_of(arguments), crosslinked_of(arguments)
    start_utc, length_s = window_of(arguments, first)
    limits = sight_limits_of(arguments)
    if arguments.pass_number is not None:
        windows = sight(first, second, start_utc, length_s, **limits)
        edges = [(window.aos_s, window.los_s) for window in windows]
        what = f"{first.name} in sight of {second.name}"
        start_utc, length_s = _pass_window(arguments, what, edges, start_utc)
    else:
        _refuse_lead_and_tail(arguments)
    if arguments.eirp is not None:
        radio = replace(radio, eirp_dbw=arguments.eirp)
    trace = make_crosslink_trace(
        first,
        second,
        start_utc,
        length_s,
        forward=arguments.rate or _capped(radio, arguments.rate_cap),
        back=arguments.rate or _capped(radio, arguments.up_rate_cap),
        **limits,
        step_s=arguments.step,
    )
    if not trace.contacts("both"):
        in_sight = sight(first, second, start_utc, length_s, **limits)
        fault = "see each other, but the radio link does not close" if in_sight else "never see each other"
        fix = "raise --eirp or change --radio" if in_sight else "set a longer --duration or looser limits"
        warnings.warn(f"{first.name} and {second.name} {fault}; {fix}", stacklevel=2)
    return trace


def _refuse_lead_and_tail(arguments: argparse.Namespace) -> None:
    if arguments.lead or arguments.tail:
        raise OrbitError("--lead and --tail require --pass; add --pass N, or set --start and --duration")


def _pass_window(
    arguments: argparse.Namespace, what: str, edges: Sequence[tuple[float, float]], start_utc: datetime
) -> tuple[datetime, float]:
    """Return start and length of the Nth pass with its lead and tail, in whole milliseconds."""
    number = arguments.pass_number
    if not 1 <= number <= len(edges):
        limits = [
            f"--{name}" for name in ("max-range", "max-slew") if getattr(arguments, name.replace("-", "_"))
        ]
        within = f" within {' and '.join(limits)}" if limits else ""
        raise OrbitError(
            f"no pass {number} of {what}{within}: the window has {len(edges)}; "
            "list them by `spaceverse trace passes`"
        )
    for option in ("lead", "tail"):
        if getattr(arguments, option) > _LONGEST_MARGIN_S:
            raise OrbitError(f"--{option} {getattr(arguments, option):g}: expected at most 86400 s")
    begin_s = round(edges[number - 1][0] - arguments.lead, 3)
    end_s = round(edges[number - 1][1] + arguments.tail, 3)
    return start_utc + timedelta(seconds=begin_s), round(end_s - begin_s, 3)


def _capped(radio: RadioLink, rate_cap_bit_s: float | None) -> RadioLink:
    return radio if rate_cap_bit_s is None else radio.capped(rate_cap_bit_s)
