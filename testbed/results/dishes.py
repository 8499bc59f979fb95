"""Who had which dish when, and what it was worth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich.table import Table

from nodes.contract.events import DishAssigned, DishReleased, EventRecord
from testbed.results.latency import FrameResult
from testbed.results.link_time import Interval, overlap_s
from testbed.scenario.dishes.desk import Turn
from testbed.scenario.model import Scenario
from traces.trace import Trace

WITHOUT_AT_LEAST_S = 0.5
ROWS_MAX = 60  # of the table on a terminal; the report has all
_HEADINGS = ("station", "satellite", "in view, s", "served, s", "idle, s", "turning, s", "waiting, s")


@dataclass(frozen=True)
class DishUse:
    """The time of one satellite over one station whose dishes are fewer than its satellites.

    Attributes:
        station: The station.
        satellite: The satellite.
        in_view_s: Time in view.
        served_s: Time in view with a dish that points at it.
        idle_s: Part of this in which nothing was sent.
        turning_s: Time in view while a dish turned to it.
        waiting_s: Time in view without a dish.
    """

    station: str
    satellite: str
    in_view_s: float
    served_s: float
    idle_s: float
    turning_s: float
    waiting_s: float


def turns_of(records: Iterable[EventRecord]) -> tuple[Turn, ...]:
    """Return the turns that a run's events tell of, in order of time."""
    found: list[Turn] = []
    having: dict[tuple[str, int], int] = {}
    for record in sorted(records, key=lambda record: record.monotonic_s):
        event, time_s = record.event, record.time_s
        if isinstance(event, DishAssigned) and time_s is not None:
            having[event.station, event.dish] = len(found)
            turn = Turn(event.station, event.dish, event.satellite, time_s, event.open_s, event.why)
            found.append(replace(turn, waiting=tuple(event.waiting)))
        elif isinstance(event, DishReleased):
            number = having.pop((event.station, event.dish), None)
            if number is not None:
                found[number] = replace(found[number], until_s=time_s, ended=event.why)
    return tuple(found)


def dish_uses(
    scenario: Scenario,
    in_view: Mapping[str, Trace],
    turns: Sequence[Turn],
    busy: Mapping[str, Sequence[Interval]],
) -> tuple[DishUse, ...]:
    """Return the use of dishes, for each link of a station that has given any.

    Args:
        scenario: the scenario.
        in_view: each link's trace as if it were always served.
        turns: who had a dish.
        busy: when each satellite was sending, in scenario time.
    """
    stations = {turn.station for turn in turns}
    found = []
    for link in scenario.links:
        trace = in_view[link.name]
        view = [(contact.aos_s, contact.los_s) for contact in trace.contacts()]
        in_view_s = sum(los_s - aos_s for aos_s, los_s in view)
        if link.station not in stations or not view:
            continue
        own = [turn for turn in turns if (turn.station, turn.satellite) == (link.station, link.satellite)]
        ends_s = [trace.end_s if turn.until_s is None else turn.until_s for turn in own]
        spans = list(zip(own, ends_s, strict=True))
        turning_s = sum(overlap_s(view, turn.from_s, min(turn.open_s, end_s)) for turn, end_s in spans)
        open_spans = [(turn.open_s, end_s) for turn, end_s in spans if turn.open_s < end_s]
        served_s = sum(overlap_s(view, *span) for span in open_spans)
        sending_s = sum(overlap_s(_merged(busy.get(link.satellite, ())), *span) for span in open_spans)
        found.append(
            DishUse(
                station=link.station,
                satellite=link.satellite,
                in_view_s=in_view_s,
                served_s=served_s,
                idle_s=max(0.0, served_s - sending_s),
                turning_s=turning_s,
                waiting_s=max(0.0, in_view_s - served_s - turning_s),
            )
        )
    return tuple(found)


def without_dish(
    scenario: Scenario, in_view: Mapping[str, Trace], turns: Sequence[Turn], frames: Sequence[FrameResult]
) -> tuple[FrameResult, ...]:
    """Return the frames; those without an answer name stations that saw the satellite and gave it no dish.

    Args:
        scenario: the scenario.
        in_view: each link's trace as if it were always served.
        turns: who had a dish.
        frames: the frames' results.
    """
    stations = {turn.station for turn in turns}
    told = []
    for frame in frames:
        reasons = []
        for link in scenario.links:
            if frame.answer is not None or link.station not in stations or link.satellite != frame.satellite:
                continue
            trace = in_view[link.name]
            view = [(contact.aos_s, contact.los_s) for contact in trace.contacts()]
            own = [one for one in turns if (one.station, one.satellite) == (link.station, link.satellite)]
            spans = [(one.open_s, trace.end_s if one.until_s is None else one.until_s) for one in own]
            without_s = overlap_s(view, frame.capture_s, trace.end_s)
            without_s -= sum(
                overlap_s(view, max(open_s, frame.capture_s), until_s)
                for open_s, until_s in spans
                if until_s > max(open_s, frame.capture_s)
            )
            if without_s > WITHOUT_AT_LEAST_S:
                seen = f"{link.station} saw {link.satellite} for {without_s:.0f} s"
                reasons.append(f"{seen} without a free dish")
        told.append(replace(frame, reached="; ".join([*reasons, frame.reached])) if reasons else frame)
    return tuple(told)


def _merged(intervals: Iterable[Interval]) -> list[Interval]:
    """Return intervals without overlaps."""
    merged: list[Interval] = []
    for begin_s, end_s in sorted(intervals):
        if merged and begin_s <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], end_s)
        else:
            merged.append((begin_s, end_s))
    return merged


def turn_rows(turns: Sequence[Turn]) -> list[dict[str, Any]]:
    """Return the turns as texts: from, until, station, dish, satellite, why, waiting, end."""
    return [
        {
            "from": f"{turn.from_s:.1f}",
            "link up": f"{turn.open_s:.1f}",
            "until": "-" if turn.until_s is None else f"{turn.until_s:.1f}",
            "dish": f"{turn.station} {turn.dish}",
            "satellite": turn.satellite,
            "why": turn.why,
            "waiting": ", ".join(turn.waiting) or "-",
            "ended because": turn.ended or "the run ended",
        }
        for turn in turns
    ]


def use_rows(uses: Sequence[DishUse]) -> list[dict[str, str]]:
    """Return the uses as texts."""
    return [
        dict(
            zip(
                _HEADINGS,
                (
                    use.station,
                    use.satellite,
                    *(
                        f"{value_s:.1f}"
                        for value_s in (
                            use.in_view_s,
                            use.served_s,
                            use.idle_s,
                            use.turning_s,
                            use.waiting_s,
                        )
                    ),
                ),
                strict=True,
            )
        )
        for use in uses
    ]


def dish_tables(turns: Sequence[Turn], uses: Sequence[DishUse]) -> list[Table]:
    """Return the tables for a terminal; none if every satellite had a dish of its own."""
    tables = []
    for title, rows in (
        ("Who had which dish, scenario time in s", turn_rows(turns)),
        ("Use of dishes", use_rows(uses)),
    ):
        if not rows:
            continue
        left = len(rows) - ROWS_MAX
        table = Table(title=title, caption=f"and {left} more in report.html" if left > 0 else None)
        for heading in rows[0]:
            table.add_column(heading, overflow="fold")
        for row in rows[:ROWS_MAX]:
            table.add_row(*row.values())
        tables.append(table)
    return tables
