"""The commands `spaceverse trace ...`: `make`, `info` and `plot` here, the others in modules of their own."""

from __future__ import annotations

import argparse
import json
import re
import warnings
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from testbed.cli.trace.convert import add_convert
from testbed.cli.trace.cut import add_cut
from testbed.cli.trace.orbit_options import (
    add_orbit_options,
    crosslinked_of,
    grazing_altitude_m_of,
    satellites_of,
    stations_of,
    window_of,
)
from testbed.cli.trace.passes import add_passes
from testbed.cli.trace.record import add_record
from testbed.cli.trace.table import print_table
from traces.errors import LinkBudgetError, OrbitError, OutputFileError
from traces.trace import Contact, Trace
from traces.trace_file import read_trace, write_trace
from traces.utc import format_utc

if TYPE_CHECKING:
    from traces.radio.link_budget import RadioLink

_MAKE_EXAMPLES = """examples:
  spaceverse trace make --satellite "FLOCK 2P-1" --station Svalbard --start 2018-01-20T00:00:00Z \\
      --hours 24 --rate-cap 4M -o day.csv
  spaceverse trace make --satellite 41617 --station Svalbard --mask 10 --pass 1 --lead 20 -o pass.csv
  spaceverse trace make --tle mine.tle --satellite MYSAT --station 52.1,4.3,10 --hours 6 -o mine.csv
  spaceverse trace make --satellite "FLOCK 2P-1" --crosslink "FLOCK 2K-13" --eirp 40 --rate-cap 10M -o isl.csv
"""
_INFO_EXAMPLES = """examples:
  spaceverse trace info pass.csv
  spaceverse trace info pass.csv --json
"""
_PLOT_EXAMPLES = """examples:
  spaceverse trace plot pass.csv -o pass.png
  spaceverse trace plot pass.csv -o pass.svg --force
"""
_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*([kMG]?)(?:bit/s)?")
_FACTOR = {"": 1, "k": 1_000, "M": 1_000_000, "G": 1_000_000_000}
_MODEL_STEP_S = 1.0


def add_parser(subparsers: Any) -> None:
    """Add `trace` and its subcommands; each sets `run`: arguments in, exit code out."""
    trace = subparsers.add_parser(
        "trace",
        help="make, read and draw link traces",
        description="Traces of a satellite's link to a ground station: contacts, delay and rates over time.",
        epilog=_MAKE_EXAMPLES + "\n`spaceverse trace SUBCOMMAND --help` tells more.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parts = trace.add_subparsers(title="subcommands", metavar="SUBCOMMAND", required=True)
    _add_make(parts)
    _add_info(parts)
    _add_plot(parts)
    add_cut(parts)
    add_passes(parts)
    add_convert(parts)
    add_record(parts)


def _add(parts: Any, name: str, summary: str, examples: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = parts.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser


def _add_make(parts: Any) -> None:
    parser = _add(parts, "make", "make a trace from an orbit, or two, and a link budget", _MAKE_EXAMPLES)
    add_orbit_options(parser, many=False)
    parser.add_argument(
        "-o", "--output", required=True, type=Path, metavar="FILE", help="the trace file to write"
    )
    parser.add_argument("--force", action="store_true", help="replace the file if it exists")
    parser.add_argument(
        "--step", type=float, default=_MODEL_STEP_S, metavar="S", help="seconds between rows (1)"
    )
    parser.add_argument(
        "--radio",
        default="dove",
        metavar="NAME",
        help="preset of the link budget: dove, cubesat-s-band, cubesat-uhf, starlink-like (dove)",
    )
    parser.add_argument(
        "--eirp",
        type=float,
        metavar="DBW",
        help="with --crosslink, whose ends both send as the preset's satellite does: its EIRP instead",
    )
    parser.add_argument(
        "--weather",
        type=float,
        metavar="PERCENT",
        help="attenuation exceeded so much of a year (ITU-R P.618; needs itur); without it a clear sky",
    )
    parser.add_argument("--rate-cap", metavar="RATE", help="at most this much down, bit/s: 4M, 250k")
    parser.add_argument("--up-rate-cap", metavar="RATE", help="at most this much up, bit/s")
    parser.add_argument("--pass", dest="pass_number", type=int, metavar="N", help="only the Nth pass, from 1")
    parser.add_argument(
        "--lead", type=float, default=0.0, metavar="S", help="with --pass: seconds before AOS"
    )
    parser.add_argument("--tail", type=float, default=0.0, metavar="S", help="with --pass: seconds after LOS")
    parser.add_argument("--json", action="store_true", help="report as JSON")
    parser.set_defaults(run=_run_make)


def _add_info(parts: Any) -> None:
    parser = _add(parts, "info", "tell what a trace holds", _INFO_EXAMPLES)
    parser.add_argument("file", type=Path, help="a trace file")
    parser.add_argument("--json", action="store_true", help="report as JSON")
    parser.set_defaults(run=_run_info)


def _add_plot(parts: Any) -> None:
    parser = _add(parts, "plot", "draw elevation, rate and delay of a trace", _PLOT_EXAMPLES)
    parser.add_argument("file", type=Path, help="a trace file")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help=".png, .svg or .pdf (the trace's name with .png)"
    )
    parser.add_argument("--force", action="store_true", help="replace the file if it exists")
    parser.set_defaults(run=_run_plot)


def _run_make(arguments: argparse.Namespace) -> int:
    if arguments.output.exists() and not arguments.force:
        raise OutputFileError(f"{arguments.output} exists; add --force to replace it, or name another file")
    trace = _made(arguments)
    write_trace(trace, arguments.output)
    report = _described(trace)
    if arguments.json:
        _print_json({"file": str(arguments.output), **report})
        return 0
    up_s = sum(contact.duration_s for contact in trace.contacts())
    print(
        f"wrote {arguments.output}: {trace.header.satellite} over {trace.header.station},"
        f" {len(report['contacts'])} contacts, {up_s:.0f} of {trace.end_s:.0f} s up, {len(trace)} rows"
    )
    return 0


def _made(arguments: argparse.Namespace) -> Trace:
    """Make the trace that the arguments of `trace make` ask for."""
    from traces.make import make_trace
    from traces.orbits.passes import passes_over
    from traces.radio.link_budget import preset  # the command line starts without orbits

    radio = preset(arguments.radio)
    if arguments.crosslink is not None:
        return _made_crosslink(arguments, radio.downlink)
    if arguments.eirp is not None:
        raise LinkBudgetError("--eirp belongs to --crosslink; a station's presets are chosen by --radio")
    (satellite,), (station,) = satellites_of(arguments), stations_of(arguments)
    start_utc, length_s = window_of(arguments, satellite)
    if arguments.pass_number is not None:
        found = passes_over(satellite, station, start_utc, length_s, elevation_mask_deg=arguments.mask)
        edges = [(one.aos_s, one.los_s) for one in found]
        what = f"{satellite.name} over {station.name}"
        start_utc, length_s = _pass_window(arguments, what, edges, start_utc)
    else:
        _refuse_lead_and_tail(arguments)
    trace = make_trace(
        satellite,
        station,
        start_utc,
        length_s,
        downlink=_capped(radio.downlink, "--rate-cap", arguments.rate_cap).in_weather(arguments.weather),
        uplink=_capped(radio.uplink, "--up-rate-cap", arguments.up_rate_cap).in_weather(arguments.weather),
        elevation_mask_deg=arguments.mask,
        step_s=arguments.step,
    )
    if not trace.contacts():
        warnings.warn(
            f"{satellite.name} has no contact over {station.name}; lower the mask, or lengthen the window",
            stacklevel=2,
        )
    return trace


def _made_crosslink(arguments: argparse.Namespace, radio: RadioLink) -> Trace:
    """Make the trace between two satellites: both send with the same radio."""
    from traces.orbits.crosslink import make_crosslink_trace, sight

    if arguments.weather is not None:
        raise LinkBudgetError("--weather belongs to --station: between satellites there is none")
    (first,), (second,) = satellites_of(arguments), crosslinked_of(arguments)
    start_utc, length_s = window_of(arguments, first)
    grazing_m = grazing_altitude_m_of(arguments)
    if arguments.pass_number is not None:
        windows = sight(first, second, start_utc, length_s, grazing_altitude_m=grazing_m)
        edges = [(one.aos_s, one.los_s) for one in windows]
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
        forward=_capped(radio, "--rate-cap", arguments.rate_cap),
        back=_capped(radio, "--up-rate-cap", arguments.up_rate_cap),
        grazing_altitude_m=grazing_m,
        step_s=arguments.step,
    )
    if not trace.contacts():
        seen = sight(first, second, start_utc, length_s, grazing_altitude_m=grazing_m)
        mend = "raise --eirp, or take another --radio" if seen else "lengthen the window, or lower --grazing"
        why = "see each other, but the radio does not reach" if seen else "never see each other"
        warnings.warn(f"{first.name} and {second.name} {why}; {mend}", stacklevel=3)
    return trace


def _refuse_lead_and_tail(arguments: argparse.Namespace) -> None:
    if arguments.lead or arguments.tail:
        raise OrbitError("--lead and --tail belong to --pass; add --pass N, or choose --start and --hours")


def _pass_window(
    arguments: argparse.Namespace, what: str, edges: Sequence[tuple[float, float]], start_utc: datetime
) -> tuple[datetime, float]:
    """Return start and length of the Nth pass with its lead and tail, on whole milliseconds."""
    number = arguments.pass_number
    if not 1 <= number <= len(edges):
        raise OrbitError(
            f"no pass {number} of {what} in this window: it holds {len(edges)}; see `spaceverse trace passes`"
        )
    for option in ("lead", "tail"):
        if not 0 <= getattr(arguments, option) <= 86_400:
            raise OrbitError(f"--{option} {getattr(arguments, option):g}: expected 0 to 86400 s")
    begin_s = round(edges[number - 1][0] - arguments.lead, 3)
    end_s = round(edges[number - 1][1] + arguments.tail, 3)
    return start_utc + timedelta(seconds=begin_s), round(end_s - begin_s, 3)


def _run_info(arguments: argparse.Namespace) -> int:
    trace = read_trace(arguments.file)
    report = _described(trace)
    if arguments.json:
        _print_json({"file": str(arguments.file), **report})
        return 0
    print(f"{report['satellite']} over {report['station']}, {report['made_by']}")
    print(f"from {report['start_utc']}, {trace.end_s:g} s, {len(trace)} rows")
    for note in trace.header.notes:
        print(f"  {note}")
    alike = np.array_equal(trace.down_delay_s, trace.up_delay_s)
    heads = ["contact", "AOS s", "LOS s", "length s", "down Mbit/s mean (peak)", "up Mbit/s mean"]
    heads += ["delay ms"] if alike else ["delay ms down", "delay ms up"]
    print_table(
        [*heads, "down MB"],
        [
            [
                str(number),
                f"{one['aos_s']:.3f}",
                f"{one['los_s']:.3f}",
                f"{one['duration_s']:.1f}",
                f"{one['down_mean_bit_s'] / 1e6:.4g} ({one['down_peak_bit_s'] / 1e6:.4g})",
                f"{one['up_mean_bit_s'] / 1e6:.4g}",
                *(
                    f"{one[f'{way}_delay_least_s'] * 1e3:.2f} to {one[f'{way}_delay_most_s'] * 1e3:.2f}"
                    for way in (["down"] if alike else ["down", "up"])
                ),
                f"{one['down_bytes'] / 1e6:.4g}",
            ]
            for number, one in enumerate(report["contacts"], start=1)
        ],
    )
    return 0


def _run_plot(arguments: argparse.Namespace) -> int:
    from traces.plot import plot_trace  # matplotlib is slow to import

    output = arguments.output or arguments.file.with_suffix(".png")
    plot_trace(read_trace(arguments.file), output, force=arguments.force)
    print(f"wrote {output}")
    return 0


def _capped(radio: RadioLink, option: str, text: str | None) -> RadioLink:
    """Return the radio with the cap that an option gives; without one it keeps its own."""
    if text is None:
        return radio
    match = _RATE.fullmatch(text.strip())
    if not match or float(match[1]) == 0:
        raise LinkBudgetError(
            f"{option} {text!r} is no rate; expected bit/s above 0 such as 4M, 250k or 9600"
        )
    return radio.capped(float(match[1]) * _FACTOR[match[2]])


def _described(trace: Trace) -> dict[str, Any]:
    header = trace.header
    epoch = header.element_epoch_utc
    return {
        "satellite": header.satellite,
        "station": header.station,
        "start_utc": format_utc(header.start_utc),
        "length_s": trace.end_s,
        "made_by": header.made_by,
        "element_epoch_utc": format_utc(epoch) if epoch else None,
        "notes": list(header.notes),
        "rows": len(trace),
        "contacts": [_described_contact(trace, contact) for contact in trace.contacts()],
    }


def _described_contact(trace: Trace, contact: Contact) -> dict[str, float]:
    inside = (trace.time_s >= contact.aos_s) & (trace.time_s < contact.los_s)
    lengths_s = trace.lengths_s()[inside]
    down_bits = float(lengths_s @ trace.down_bit_s[inside])
    up_bits = float(lengths_s @ trace.up_bit_s[inside])
    return {
        "aos_s": contact.aos_s,
        "los_s": contact.los_s,
        "duration_s": round(contact.duration_s, 6),
        "down_mean_bit_s": down_bits / contact.duration_s,
        "down_peak_bit_s": float(trace.down_bit_s[inside].max()),
        "up_mean_bit_s": up_bits / contact.duration_s,
        "down_delay_least_s": float(trace.down_delay_s[inside].min()),
        "down_delay_most_s": float(trace.down_delay_s[inside].max()),
        "up_delay_least_s": float(trace.up_delay_s[inside].min()),
        "up_delay_most_s": float(trace.up_delay_s[inside].max()),
        "down_bytes": down_bits / 8,
        "up_bytes": up_bits / 8,
    }


def _print_json(report: object) -> None:
    print(json.dumps(report, indent=2))
