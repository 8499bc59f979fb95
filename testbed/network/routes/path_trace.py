"""The way of a node to the root as one link: the trace that somebody at its ends would have recorded."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from testbed.network.routes.contact_graph import RoutedLink
from testbed.network.routes.schedule import RouteSchedule, Stay
from traces.trace import COLUMNS, Trace

Columns: TypeAlias = dict[str, npt.NDArray[Any]]


def path_trace(schedule: RouteSchedule, node: str, *, frame_bytes: int = 0) -> Trace:
    """Return the trace of a node's way to the root, whose downlink leads to the root.

    A way has the lowest rate of its links, the sum of their delays, and loses what any of them loses.

    Args:
        schedule: the routes.
        node: the node.
        frame_bytes: size of the frames that are sent over it. Each link but the slowest then adds to the
            delay the time that it needs for one.

    Raises:
        StopIteration: no link of the schedule has this node at its end.
    """
    by_ends = {link.ends: link for link in schedule.links}
    parts = [_part(stay, by_ends, frame_bytes) for stay in schedule.stays(node)]
    columns: dict[str, Any] = {name: np.concatenate([part[name] for part in parts]) for name in COLUMNS}
    own = next(link for link in schedule.links if node in link.ends)
    header = own.trace.header
    return Trace(
        header=replace(
            header,
            satellite=node,
            station=schedule.root,
            made_by="spaceverse (routes over several links)",
            notes=(f"the way from {node} to {schedule.root} by the routes of the run",),
            element_epoch_utc=None,
        ),
        end_s=schedule.end_s,
        **columns,
    )


def _part(stay: Stay, by_ends: dict[tuple[str, str], RoutedLink], frame_bytes: int) -> Columns:
    """Return the rows of an interval in which the way is the same."""
    hops = [_hop(by_ends, ends) for ends in pairwise(stay.path)]
    inside = [trace.time_s[(trace.time_s > stay.begin_s) & (trace.time_s < stay.end_s)] for trace in hops]
    time_s = np.unique(np.concatenate([[stay.begin_s], *inside]))
    rows = [np.searchsorted(trace.time_s, time_s, side="right") - 1 for trace in hops]
    nothing = np.zeros_like(time_s)
    columns: Columns = {"time_s": time_s}
    for way in ("down", "up"):
        up = np.full(len(time_s), bool(hops))
        for trace, row in zip(hops, rows, strict=True):
            up &= getattr(trace, f"{way}link_up")[row]
        rates = [getattr(trace, f"{way}_bit_s")[row] for trace, row in zip(hops, rows, strict=True)]
        delays = [getattr(trace, f"{way}_delay_s")[row] for trace, row in zip(hops, rows, strict=True)]
        passed = [1 - getattr(trace, f"{way}_loss")[row] for trace, row in zip(hops, rows, strict=True)]
        rate = np.min(rates, axis=0) if hops else nothing
        with np.errstate(divide="ignore", invalid="ignore"):
            frames = [np.where(up, frame_bytes * 8 / one, 0.0) for one in rates]
            once = np.where(up, frame_bytes * 8 / rate, 0.0)
        columns |= {
            f"{way}link_up": up,
            f"{way}_bit_s": np.where(up, rate, 0.0),
            f"{way}_delay_s": np.where(up, sum(delays, nothing) + sum(frames, nothing) - once, 0.0),
            f"{way}_loss": np.where(up, 1 - np.prod(passed, axis=0), 0.0) if hops else nothing,
        }
    return columns


def _hop(by_ends: dict[tuple[str, str], RoutedLink], ends: tuple[str, str]) -> Trace:
    """Return the trace of a link as seen by somebody who sends from the first end to the second."""
    link = by_ends.get(ends)
    return link.trace if link is not None else by_ends[ends[1], ends[0]].trace.reverse()
