"""`spaceverse trace passes`: the contact table of many satellites over many stations."""

from __future__ import annotations

import argparse
import csv
import json
import sys
import warnings
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from testbed.cli.trace.orbit_options import (
    add_orbit_options,
    crosslinked_of,
    satellites_of,
    sight_limits_of,
    stations_of,
    window_of,
)
from testbed.cli.trace.table import print_table
from traces.utc import format_utc, parse_utc

if TYPE_CHECKING:
    from traces.orbits.element_set import ElementSet
    from traces.orbits.passes import Pass

_EXAMPLES = """examples:
  spaceverse trace passes --satellite "FLOCK 2P-1" --station Svalbard --mask 10
  spaceverse trace passes --satellite "FLOCK 2P-1" --satellite "FLOCK 2P-2" \\
      --station Svalbard --station Troll
  # 188 satellites, 15 stations, a day
  spaceverse trace passes --satellite "FLOCK 2P-1" --station -33.9,18.4,10
  spaceverse trace passes --station all --csv > passes.csv
  spaceverse trace passes --walker 53:24/3/1@550 \\
      --start 2026-01-01T00:00:00Z --station 48.1,11.6,500
  spaceverse trace passes --satellite "FLOCK 2P-1" --crosslink "FLOCK 2K-13" \\
      --duration 6h
"""
_COLUMNS = (
    "satellite",
    "station",
    "pass",
    "aos_utc",
    "tca_utc",
    "los_utc",
    "duration_s",
    "max_elevation_deg",
    "whole",
)

_CROSSLINK_COLUMNS = (
    "satellite",
    "other",
    "pass",
    "begin_utc",
    "end_utc",
    "duration_s",
    "begin_range_km",
    "end_range_km",
    "whole",
)


def add_parser(subparsers: Any) -> None:
    """Add the subcommand `passes`."""
    parser = subparsers.add_parser(
        "passes",
        help="list the passes of satellites over stations, or the contacts between satellites",
        description="List the passes of satellites over stations, or the contacts between satellites.",
        epilog=_EXAMPLES,
    )
    add_orbit_options(parser, many=True)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--csv", action="store_true", help="print CSV with a header line")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from traces.orbits.passes import find_passes  # the command line starts without orbits
    from traces.orbits.propagation import warn_if_stale

    if arguments.crosslink is not None:
        return _run_crosslinks(arguments)
    satellites, stations = satellites_of(arguments), stations_of(arguments)
    window = window_of(arguments, max(satellites, key=lambda elements: elements.epoch_utc))
    if arguments.satellite is None:
        satellites = _propagable(satellites, *window)
    warn_if_stale(satellites, *window)
    table = find_passes(satellites, stations, *window, elevation_mask_deg=arguments.mask)
    rows: list[dict[str, Any]] = []
    number, before = 0, (-1, -1)
    for satellite, station, contact in table:
        number, before = (number + 1 if (satellite, station) == before else 1), (satellite, station)
        rows.append(
            _described(satellites[satellite].name, stations[station].name, number, window[0], contact)
        )
    _report(arguments, rows, _COLUMNS, _show)
    return 0


def _run_crosslinks(arguments: argparse.Namespace) -> int:
    from traces.orbits.crosslink import crosslink, sight
    from traces.orbits.propagation import warn_if_stale

    satellites, others = satellites_of(arguments), crosslinked_of(arguments)
    start_utc, length_s = window_of(arguments, max(satellites, key=lambda elements: elements.epoch_utc))
    if arguments.satellite is None:
        satellites = _propagable(satellites, start_utc, length_s)
    warn_if_stale([*satellites, *others], start_utc, length_s)
    limits = sight_limits_of(arguments)
    rows: list[dict[str, Any]] = []
    for first, second in ((first, second) for first in satellites for second in others if first != second):
        windows = sight(first, second, start_utc, length_s, **limits)
        for number, window in enumerate(windows, start=1):
            edges_s = (window.aos_s, window.los_s)
            range_km = crosslink(first, second, start_utc, edges_s).range_m / 1e3
            moments = [format_utc(start_utc + timedelta(seconds=round(edge_s, 3))) for edge_s in edges_s]
            whole = window.aos_s > 0 and window.los_s < length_s
            rest = (round(window.duration_s, 3), *range_km.round(3).tolist(), whole)
            values = (first.name, second.name, number, *moments, *rest)
            rows.append(dict(zip(_CROSSLINK_COLUMNS, values, strict=True)))
    _report(arguments, rows, _CROSSLINK_COLUMNS, _show_crosslinks)
    return 0


def _report(
    arguments: argparse.Namespace,
    rows: Sequence[dict[str, Any]],
    columns: Sequence[str],
    show: Callable[[Sequence[dict[str, Any]]], None],
) -> None:
    if arguments.json:
        print(json.dumps(rows, indent=2))
    elif arguments.csv:
        writer = csv.DictWriter(sys.stdout, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    else:
        show(rows)


def _propagable(satellites: Sequence[ElementSet], start_utc: datetime, length_s: float) -> list[ElementSet]:
    """Leave out, with a warning, satellites that have re-entered; none of them was selected by name."""
    from traces.orbits.propagation import Fleet, check_window

    check_window(start_utc, length_s)
    bad = Fleet(satellites, start_utc).refused([0.0, length_s / 2, length_s])
    if bad.any() and not bad.all():
        names = [elements.name for elements, refused in zip(satellites, bad, strict=True) if refused]
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        warnings.warn(
            f"left out {shown}: SGP4 cannot propagate them to {format_utc(start_utc)}; use newer elements",
            stacklevel=2,
        )
        return [elements for elements, refused in zip(satellites, bad, strict=True) if not refused]
    return list(satellites)


def _described(
    satellite: str, station: str, number: int, start_utc: datetime, contact: Pass
) -> dict[str, Any]:
    moments = [
        format_utc(start_utc + timedelta(seconds=round(seconds, 3)))
        for seconds in (contact.aos_s, contact.tca_s, contact.los_s)
    ]
    rest = (round(contact.duration_s, 3), round(contact.max_elevation_deg, 3), contact.whole)
    return dict(zip(_COLUMNS, (satellite, station, number, *moments, *rest), strict=True))


def _show(rows: Sequence[dict[str, Any]]) -> None:
    print_table(
        ["satellite", "station", "pass", "AOS (UTC)", "TCA", "LOS", "length s", "max el."],
        [
            [
                row["satellite"],
                row["station"],
                str(row["pass"]),
                f"{_nearest_second(row['aos_utc']):%Y-%m-%d %H:%M:%S}",
                f"{_nearest_second(row['tca_utc']):%H:%M:%S}",
                f"{_nearest_second(row['los_utc']):%H:%M:%S}",
                f"{row['duration_s']:.1f}{'' if row['whole'] else ' (cut)'}",
                f"{row['max_elevation_deg']:.1f}°",
            ]
            for row in rows
        ],
        empty="no pass",
    )


def _show_crosslinks(rows: Sequence[dict[str, Any]]) -> None:
    print_table(
        ["satellite", "other", "window", "begin (UTC)", "end", "length s", "range km"],
        [
            [
                row["satellite"],
                row["other"],
                str(row["pass"]),
                f"{_nearest_second(row['begin_utc']):%Y-%m-%d %H:%M:%S}",
                f"{_nearest_second(row['end_utc']):%H:%M:%S}",
                f"{row['duration_s']:.1f}{'' if row['whole'] else ' (cut)'}",
                f"{row['begin_range_km']:.0f} to {row['end_range_km']:.0f}",
            ]
            for row in rows
        ],
        empty="no contact between them",
    )


def _nearest_second(moment: str) -> datetime:
    return (parse_utc(moment) + timedelta(milliseconds=500)).replace(microsecond=0)
