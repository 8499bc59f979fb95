"""The links of an evaluation: real passes under several rate caps, for its job file.

Each link covers a pass and the next one, so that data left over from the first comes down an orbit later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

import numpy as np

from nodes.contract.evaluation import JobCase, JobPass, JobRow
from testbed.errors import ScenarioError
from traces.make import make_trace
from traces.orbits.elements import find_satellite, read_elements
from traces.orbits.passes import Pass, passes_over
from traces.orbits.stations import station
from traces.orbits.tle import FLOCK_TLE
from traces.radio.link_budget import preset
from traces.trace import Trace

_SEARCH_S = 2 * 86_400
BEFORE_LOS_S = 30.0
AFTER_LOS_S = 5.0


@dataclass(frozen=True)
class Sky:
    """Passes of a satellite over a station, and the times of capture.

    Frames are captured every `interval_s` from `lead_s` before AOS until BEFORE_LOS_S before LOS.

    Attributes:
        satellite: Name or catalogue number.
        station: Name of the ground station.
        start_utc: Time from which passes are searched.
        count: Number of passes.
        lead_s: Time from the first capture to AOS.
        interval_s: Time between captures.
    """

    satellite: str
    station: str
    start_utc: datetime
    count: int
    lead_s: float = 60.0
    interval_s: float = 2.0


def make_cases(sky: Sky, rates_bit_s: Sequence[float]) -> tuple[list[JobCase], dict[str, Trace]]:
    """Return a case for each rate, and the traces by name.

    Raises:
        ScenarioError: There are too few passes, or one without a contact.
    """
    elements = find_satellite(read_elements(FLOCK_TLE), sky.satellite)
    place = station(sky.station)
    passes = [
        pass_ for pass_ in passes_over(elements, place, sky.start_utc, _SEARCH_S) if pass_.aos_s > sky.lead_s
    ]
    if len(passes) < sky.count + 1:
        raise ScenarioError(
            f"{sky.satellite} has {len(passes)} passes over {sky.station} in two days;"
            f" {sky.count + 1} are needed"
        )
    radio = preset("dove")
    cases, traces = [], {}
    for rate_bit_s in rates_bit_s:
        of_rate = []
        for number, (pass_, following) in enumerate(pairwise(passes[: sky.count + 1]), start=1):
            start_utc, length_s = _window(sky, pass_, following)
            trace = make_trace(
                elements,
                place,
                start_utc,
                length_s,
                downlink=radio.downlink.capped(rate_bit_s),
                uplink=radio.uplink,
            )
            name = f"pass{number}-{rate_bit_s / 1e6:g}M"
            traces[name] = trace
            of_rate.append(_job_pass(name, trace, sky))
        cases.append(JobCase(rate_bit_s=rate_bit_s, passes=of_rate))
    return cases, traces


def part_of_first_pass(
    case: JobCase, traces: Mapping[str, Trace], until_s: float, sky: Sky
) -> tuple[JobCase, Trace]:
    """Return the first pass of a case up to a scenario time, as a case and as a trace.

    The name of both ends in "-played".

    Raises:
        ScenarioError: No contact begins before that time.
    """
    first = case.passes[0]
    name = first.name
    trace = traces[name]
    trace = trace.cut(0.0, min(trace.contacts()[0].los_s + AFTER_LOS_S, until_s, trace.end_s))
    if not trace.contacts("both"):
        raise ScenarioError(f"{name}: no contact before {until_s:g} s; use a longer --emulated")
    captures_s = [time_s for time_s in first.captures_s if time_s < until_s]
    played = _job_pass(f"{name}-played", trace, sky).model_copy(update={"captures_s": captures_s})
    return JobCase(rate_bit_s=case.rate_bit_s, passes=[played], part=True), trace


def _window(sky: Sky, pass_: Pass, following: Pass) -> tuple[datetime, float]:
    """Return start and length in seconds of the trace of a pass and the following one."""
    begin_s = round(pass_.aos_s - sky.lead_s, 3)
    return sky.start_utc + timedelta(seconds=begin_s), round(following.los_s + AFTER_LOS_S - begin_s, 3)


def _job_pass(name: str, trace: Trace, sky: Sky) -> JobPass:
    contacts = trace.contacts()
    if not trace.contacts("both"):
        raise ScenarioError(f"{name}: the link budget never closes; use another station or a higher pass")
    last_s = contacts[0].los_s - BEFORE_LOS_S
    rows = [
        JobRow(
            time_s=row.time_s,
            up=row.up,
            down_bit_s=row.down_bit_s if row.both_up else 0.0,  # a transfer needs replies
            down_delay_s=row.down_delay_s,
            up_delay_s=row.up_delay_s,
        )
        for row in trace.rows()
    ]
    captures_s = np.arange(0.0, max(sky.interval_s, last_s), sky.interval_s).tolist()
    return JobPass(name=name, rows=rows, end_s=trace.end_s, captures_s=captures_s)
