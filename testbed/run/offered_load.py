"""Offered load: the images of a satellite against what its links can carry of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from testbed.scenario.model import Satellite, Scenario
from traces.trace import Trace


def carried_bytes(traces: Sequence[Trace], from_s: float) -> float:
    """Return the bytes that a satellite's links carry down after a time; of links that are up together, one.

    Args:
        traces: the links' traces, in order of preference.
        from_s: time of the first capture.
    """
    edges_s = np.unique(
        np.concatenate([*(np.append(trace.time_s, trace.end_s) for trace in traces), [from_s]])
    )
    edges_s = edges_s[edges_s >= from_s]
    starts_s, lengths_s = edges_s[:-1], np.diff(edges_s)
    rate_bit_s = np.zeros(len(starts_s))
    for trace in reversed(traces):
        row = np.searchsorted(trace.time_s, starts_s, side="right") - 1
        flows = (row >= 0) & (starts_s < trace.end_s) & trace.both_up[row]
        rate_bit_s = np.where(flows, trace.down_bit_s[row], rate_bit_s)
    return float(lengths_s @ rate_bit_s) / 8


def offered_load(scenario: Scenario, traces: Mapping[str, Trace]) -> list[str]:
    """Return a line per satellite: the size of its images, and what its links can carry of them."""
    return [_line(scenario, satellite, traces) for satellite in scenario.satellites]


def _line(scenario: Scenario, satellite: Satellite, traces: Mapping[str, Trace]) -> str:
    own = [traces[link.name] for link in scenario.links if link.satellite == satellite.name]
    offered = sum(frame.image.stat().st_size for frame in satellite.frames)
    carried = carried_bytes(own, min(frame.capture_s for frame in satellite.frames))
    share = f"{offered / carried:.0%} of " if carried else ""
    line = (
        f"{satellite.name}: {len(satellite.frames)} images of {offered / 1e6:.3g} MB in all,"
        f" {share}the {carried / 1e6:.3g} MB that its links carry"
    )
    if offered > carried:
        line += (
            "; not all can come down whole: capture fewer, raise the rate, or let its policy drop or reduce"
        )
    return line
