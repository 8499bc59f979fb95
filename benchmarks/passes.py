"""Compare the search for passes with skyfield and brahe: 188 Doves over 12 stations for a day.

Run `python benchmarks/passes.py`. All three are timed in one run, so that the ratios are valid on a shared
machine; then their passes are compared. skyfield's find_events is accurate to half a second only, so its
times are refined with its own altitudes. brahe samples every 60 s by default and misses shorter passes: it is
timed with this default, and compared with a step of `--brahe-step` seconds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from typing import Any

import numpy as np
import numpy.typing as npt
from skyfield.api import EarthSatellite, wgs84

from traces.orbits.element_set import ElementSet
from traces.orbits.elements import read_elements
from traces.orbits.passes import PassTable, bracketed_roots, find_passes
from traces.orbits.propagation import timescale
from traces.orbits.stations import STATIONS, GroundStation
from traces.orbits.tle import FLOCK_TLE

START = datetime(2018, 1, 20, tzinfo=timezone.utc)
DAY_S = 86_400.0
MASK_DEG = 5.0
GRAZING_DEG = 0.5

Floats = npt.NDArray[np.float64]
Rows = list[tuple[int, int, float, float]]  # satellite, station, AOS, LOS


def main() -> None:
    """Measure, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--satellites", type=int, default=188, help="number of satellites (188)")
    parser.add_argument("--brahe-step", type=float, default=5.0, help="step of the comparison, seconds (5)")
    arguments = parser.parse_args()
    chosen, sites = read_elements(FLOCK_TLE)[: arguments.satellites], STATIONS[:12]

    find_passes(chosen[:1], sites, START, DAY_S)  # load time scales before the measurement
    table, ours_s = timed(lambda: find_passes(chosen, sites, START, DAY_S), times=5)
    events, skyfield_s = timed(lambda: skyfield_events(chosen, sites))
    print(f"{len(chosen)} satellites, {len(sites)} stations, 24 h: {len(table)} passes")
    print(f"spaceverse {ours_s:8.3f} s")
    print(f"skyfield   {skyfield_s:8.3f} s  {skyfield_s / ours_s:5.1f} times as long")
    try:
        import brahe  # noqa: F401  a test's dependency only
    except ImportError:
        print("brahe is not installed: pip install brahe")
    else:
        windows, brahe_s = timed(lambda: brahe_windows(chosen, sites, 60.0))
        print(f"brahe      {brahe_s:8.3f} s  {brahe_s / ours_s:5.1f} times as long, {len(windows)} passes")
        compare("brahe", table, brahe_windows(chosen, sites, arguments.brahe_step))
    compare("skyfield", table, exact(chosen, sites, events))


def timed(function: Callable[[], Any], times: int = 1) -> tuple[Any, float]:
    """Return a function's result and the median of its durations in seconds."""
    took_s = []
    for _ in range(times):
        begin = time.perf_counter()
        result = function()
        took_s.append(time.perf_counter() - begin)
    return result, statistics.median(took_s)


def skyfield_events(chosen: Sequence[ElementSet], sites: Sequence[GroundStation]) -> list[Any]:
    """Call find_events for each pair, as in its documentation."""
    scale = timescale()
    begin, end = scale.from_datetime(START), scale.utc(2018, 1, 21)
    satellites = [EarthSatellite(dove.line1, dove.line2, dove.name, scale) for dove in chosen]
    places = [wgs84.latlon(site.latitude_deg, site.longitude_deg, site.altitude_m) for site in sites]
    return [
        satellite.find_events(place, begin, end, MASK_DEG) for satellite in satellites for place in places
    ]


def exact(chosen: Sequence[ElementSet], sites: Sequence[GroundStation], events: Sequence[Any]) -> Rows:
    """Return skyfield's passes with the times at which its own altitude crosses the mask."""
    scale = timescale()
    begin = scale.from_datetime(START)
    rows: Rows = []
    for pair, (moments, kinds) in enumerate(events):
        satellite, station = divmod(pair, len(sites))
        site = sites[station]
        place = wgs84.latlon(site.latitude_deg, site.longitude_deg, site.altitude_m)
        line_of_sight = EarthSatellite(chosen[satellite].line1, chosen[satellite].line2, "", scale) - place
        edge = kinds != 1
        if not edge.any():
            continue
        near_s: Floats = (moments.tt[edge] - begin.tt) * DAY_S
        seconds = near_s + bracketed_roots(altitudes(line_of_sight, begin, near_s), -0.6, 0.6, len(near_s))
        rises, sets = seconds[kinds[edge] == 0].tolist(), seconds[kinds[edge] == 2].tolist()
        if not rises or (sets and sets[0] < rises[0]):
            rises.insert(0, 0.0)
        if len(sets) < len(rises):
            sets.append(DAY_S)
        rows += [(satellite, station, aos, los) for aos, los in zip(rises, sets, strict=True)]
    return rows


def altitudes(line_of_sight: Any, begin: Any, near_s: Floats) -> Callable[[Floats], Floats]:
    """Return skyfield's altitude above the mask as a function of the seconds after each of `near_s`."""

    def above(after_s: Floats) -> Floats:
        moments = timescale().tt_jd(begin.whole, begin.tt_fraction + (near_s + after_s) / DAY_S)
        return np.asarray(line_of_sight.at(moments).altaz()[0].degrees - MASK_DEG)

    return above


def brahe_windows(chosen: Sequence[ElementSet], sites: Sequence[GroundStation], step_s: float) -> Rows:
    """Return brahe's access windows, computed with all of its threads."""
    import brahe

    dut1 = float(timescale().from_datetime(START).dut1)
    brahe.set_global_eop_provider_from_static_provider(
        brahe.StaticEOPProvider.from_values(0.0, 0.0, dut1, 0.0, 0.0, 0.0)
    )
    start = brahe.Epoch(START.year, START.month, START.day, 0, 0, 0.0)
    windows = brahe.location_accesses(
        [
            brahe.PointLocation(site.longitude_deg, site.latitude_deg, site.altitude_m).with_name(str(number))
            for number, site in enumerate(sites)
        ],
        [
            brahe.SGPPropagator.from_tle(dove.line1, dove.line2).with_name(str(number))
            for number, dove in enumerate(chosen)
        ],
        start,
        start + DAY_S,
        brahe.ElevationConstraint(MASK_DEG),
        config=brahe.AccessSearchConfig(initial_time_step=step_s),
    )
    return sorted(
        (
            int(window.satellite_name),
            int(window.location_name),
            float(window.window_open - start),
            float(window.window_close - start),
        )
        for window in windows
    )


def compare(name: str, table: PassTable, theirs: Rows) -> None:
    """Print the number of passes of both sides and the differences of their AOS and LOS."""
    by_pair: dict[tuple[int, int], list[tuple[float, float]]] = {}
    for satellite, station, aos_s, los_s in theirs:
        by_pair.setdefault((satellite, station), []).append((aos_s, los_s))
    differences: list[tuple[float, float]] = []  # degrees above the mask, seconds
    unmatched = []
    for satellite, station, ours in table:
        others = by_pair.get((satellite, station), [])
        match = next((each for each in others if each[0] < ours.los_s and ours.aos_s < each[1]), None)
        if match is None:
            unmatched.append(ours)
            continue
        others.remove(match)
        error_s = max(abs(match[0] - ours.aos_s), abs(match[1] - ours.los_s))
        differences.append((ours.max_elevation_deg - MASK_DEG, error_s))
    only_theirs = sum(len(rest) for rest in by_pair.values())
    high = [seconds for degrees, seconds in differences if degrees >= GRAZING_DEG]
    low = [seconds for degrees, seconds in differences if degrees < GRAZING_DEG]
    print(
        f"{name}: {len(theirs)} passes, spaceverse: {len(table)}; {only_theirs} only in {name}, "
        f"{len(unmatched)} only in spaceverse"
        + (f" (longest: {max(ours.duration_s for ours in unmatched):.1f} s)" if unmatched else "")
    )
    print(
        f"  largest difference of AOS or LOS: {max(high, default=0):.4f} s;"
        f" for {len(low)} grazing passes: {max(low, default=0):.4f} s"
    )


if __name__ == "__main__":
    main()
