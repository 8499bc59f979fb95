"""The part of a named load that is also played over the emulated network: its first contact.

The rates of a load are scaled once the sizes of the frames are known, so the part's trace is made
afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import numpy as np

from nodes.contract.evaluation import JobCase, JobPass, JobRow
from testbed.errors import ScenarioError
from traces.trace import Trace, TraceHeader

UP_BIT_S = 250e3  # of the uplink of a Dove, which carries replies alone


def part_of_load(case: JobCase, lead_s: float, length_s: float) -> JobCase:
    """Return `length_s` of a load from `lead_s` before its first contact on, or from its beginning.

    Nothing that was captured before is on board.

    Raises:
        ScenarioError: It ends before the contact.
    """
    (whole,) = case.passes
    aos_s = next(row.time_s for row in whole.rows if row.up)
    begin_s = max(0.0, aos_s - lead_s)
    end_s = min(begin_s + length_s, whole.end_s)
    if end_s <= aos_s:
        raise ScenarioError(
            f"{case.name}: no contact within {length_s:g} s; use a longer --emulated, or a shorter --lead"
        )
    played = JobPass(
        name=f"{case.name}-played",
        rows=list(_rows_between(whole, begin_s, end_s)),
        end_s=end_s - begin_s,
        captures_s=[time_s - begin_s for time_s in whole.captures_s if begin_s <= time_s < end_s] or [0.0],
    )
    return JobCase(
        name=played.name,
        rate_bit_s=case.rate_bit_s,
        passes=[played],
        part=True,
        of_load=case.name,
        begins_s=begin_s,
    )


def _rows_between(whole: JobPass, begin_s: float, end_s: float) -> Iterator[JobRow]:
    ends_s = [row.time_s for row in whole.rows[1:]] + [whole.end_s]
    for row, row_end_s in zip(whole.rows, ends_s, strict=True):
        if row_end_s > begin_s and row.time_s < end_s:
            yield row.model_copy(update={"time_s": max(row.time_s, begin_s) - begin_s})


def trace_of(part: JobCase, rate_bit_s: float, satellite: str, station: str, start_utc: datetime) -> Trace:
    """Return the trace of a part whose load's largest rate has become `rate_bit_s`."""
    (played,) = part.passes
    rows, factor = played.rows, rate_bit_s / part.rate_bit_s
    up = np.array([row.up for row in rows])
    none = np.zeros(len(rows))
    return Trace(
        header=TraceHeader(
            satellite=satellite,
            station=station,
            start_utc=start_utc,
            made_by=f"the load {part.of_load} of spaceverse eval",
            notes=(f"from {part.begins_s:.3f} s of the load on; its rates scaled by {factor:.6g}",),
        ),
        time_s=np.array([row.time_s for row in rows]),
        downlink_up=up,
        uplink_up=up,
        down_bit_s=np.array([row.down_bit_s * factor for row in rows]),
        up_bit_s=np.where(up, UP_BIT_S, 0.0),
        down_delay_s=np.array([row.down_delay_s for row in rows]),
        up_delay_s=np.array([row.up_delay_s for row in rows]),
        down_loss=none,
        up_loss=none,
        end_s=played.end_s,
    )
