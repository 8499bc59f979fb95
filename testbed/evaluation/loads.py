"""Named loads of an evaluation: what is captured when, and over which contacts it comes down.

    orbit-0.3 ... orbit-10   captures along three orbits of a Dove, contacts with three stations
    burst                    captures in the 30 s before a pass, then the contacts of two orbits; load 1.4
    starlink                 captures all along ten minutes of a link that is always up, with a new rate and
                             delay every 15 s, and nearly none for 0.2 s between; load 1

The number is the load: bytes of all frames as captured over the bytes that the contacts carry. It is reached
by scaling the rates of the link, since a benchmark has a fixed number of frames. Above 1, not everything can
come down. Grace's own set-up has a load of 1.4; fleets in orbit have 0.4 to 14 (docs/models-and-policies.md).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

import numpy as np

from nodes.contract.evaluation import JobCase, JobPass, JobRow
from testbed.errors import ScenarioError
from traces.make import make_trace
from traces.orbits.elements import find_satellite, read_elements
from traces.orbits.stations import station
from traces.orbits.tle import FLOCK_TLE
from traces.radio.link_budget import preset
from traces.trace import Trace

STATIONS = ("Svalbard", "Inuvik", "Troll")
ORBIT_S = 5670.0  # of a Dove at 500 km
FRESH_S = 1800.0  # an answer is worth nothing later
_CAPTURES = 2000  # slots, over which the frames of a benchmark are spread
_RATE_BIT_S = 100e6  # before it is scaled


@dataclass(frozen=True)
class Contacts:
    """Rows of a link with one satellite end, and its end in seconds."""

    rows: list[JobRow]
    end_s: float


def make_loads(names: Sequence[str], satellite: str, start_utc: datetime) -> list[JobCase]:
    """Return a case for each named load.

    Raises:
        ScenarioError: There is no contact in the orbits from `start_utc` on.
    """
    return [_case(name, satellite, start_utc) for name in names]


def _case(name: str, satellite: str, start_utc: datetime) -> JobCase:
    if name == "starlink":
        contacts, captures_s, load = starlink_like(600.0), np.linspace(0.0, 590.0, _CAPTURES), 1.0
    elif name == "burst":
        contacts, load = over_stations(satellite, start_utc, 2 * ORBIT_S), 1.4
        aos_s = next(row.time_s for row in contacts.rows if row.up)
        captures_s = np.linspace(max(0.0, aos_s - 30.0), aos_s, _CAPTURES)
    else:
        contacts, load = over_stations(satellite, start_utc, 3 * ORBIT_S), float(name.removeprefix("orbit-"))
        aos_s = max(row.time_s for before, row in pairwise(contacts.rows) if row.up and not before.up)
        captures_s = np.linspace(0.0, aos_s, _CAPTURES)  # later ones could not come down
    passed = JobPass(name=name, rows=contacts.rows, end_s=contacts.end_s, captures_s=captures_s.tolist())
    return JobCase(name=name, rate_bit_s=_RATE_BIT_S, load=load, passes=[passed])


def over_stations(satellite: str, start_utc: datetime, length_s: float) -> Contacts:
    """Return the contacts of a Dove with several stations as one link: at any time with one station.

    A station keeps the satellite until LOS, as one that has a dish to itself does.
    """
    elements, radio = find_satellite(read_elements(FLOCK_TLE), satellite), preset("dove")
    traces = [
        make_trace(
            elements,
            station(name),
            start_utc,
            length_s,
            downlink=radio.downlink.capped(_RATE_BIT_S),
            uplink=radio.uplink,
        )
        for name in STATIONS
    ]
    found = sorted(
        (contact.aos_s, contact.los_s, number)
        for number, trace in enumerate(traces)
        for contact in trace.contacts("both")
    )
    if not found:
        raise ScenarioError(f"{satellite} has no contact in {length_s:g} s from {start_utc}")
    rows, free_s = [_down(0.0)], 0.0
    for aos_s, los_s, number in found:
        if los_s - max(aos_s, free_s) < 1.0:
            continue
        rows += list(_part(traces[number], max(aos_s, free_s), los_s))
        rows.append(_down(los_s))
        free_s = los_s
    rows = [row for row, after in zip(rows, [*rows[1:], None], strict=True) if not _replaced(row, after)]
    return Contacts([row for row in rows if row.time_s < length_s], length_s)


def _part(trace: Trace, begin_s: float, end_s: float) -> Iterator[JobRow]:
    part = trace.cut(begin_s, min(end_s, trace.end_s))
    for row in part.rows():
        yield JobRow(
            time_s=row.time_s + begin_s,
            up=row.both_up,
            down_bit_s=row.down_bit_s if row.both_up else 0.0,
            down_delay_s=row.down_delay_s,
            up_delay_s=row.up_delay_s,
        )


def starlink_like(length_s: float) -> Contacts:
    """Return a link with a new rate and delay every 15 s, when the terminal is given another satellite.

    For 0.2 s in between it is slow and not down, as a terminal keeps its carrier: there is one contact.

    Rates and delays are drawn with a fixed seed: 20 to 100 % of the largest rate, 20 to 45 ms one way. They
    are like those that are published of Starlink terminals, and no recording.
    """
    rng = random.Random(0)  # noqa: S311 - no secret
    rows = []
    for number in range(int(length_s / 15.0)):
        begin_s, delay_s = 15.0 * number, rng.uniform(0.020, 0.045)
        rate_bit_s = _RATE_BIT_S * rng.uniform(0.2, 1.0)
        rows += [
            JobRow(
                time_s=time_s,
                up=True,
                down_bit_s=rate_bit_s * share,
                down_delay_s=delay_s,
                up_delay_s=delay_s,
            )
            for time_s, share in ((begin_s, 1.0), (begin_s + 14.8, 0.01))
        ]
    return Contacts(rows, length_s)


def _down(time_s: float) -> JobRow:
    return JobRow(time_s=time_s, up=False, down_bit_s=0.0, down_delay_s=0.0, up_delay_s=0.0)


def _replaced(row: JobRow, after: JobRow | None) -> bool:
    """Return whether the next row begins at the same time."""
    return after is not None and after.time_s <= row.time_s
