"""Records of probes in scenario time, where that runs faster than the clocks of the probes."""

from __future__ import annotations

from typing import Any

from nodes.clocks.timescale import Timescale

_DURATIONS = ("rtt_s", "there_s", "back_s", "turnaround_s", "dispersion_s")


def in_scenario_time(record: dict[str, Any], scale: Timescale | None) -> dict[str, Any]:
    """Return a record as a probe would have written it on a link at the trace's own pace.

    Its stamp counts from the start of the scale, as CLOCK_MONOTONIC does at speed 1.

    Args:
        record: see `testbed.measure.probe`.
        scale: scenario time; None, or where it is real time, the record is returned as it is.
    """
    if scale is None or scale.is_real:
        return record
    speed = scale.speed_at(record["monotonic_s"])
    converted = {**record, "monotonic_s": scale.start_monotonic_s + scale.at(record["monotonic_s"])}
    converted |= {name: record[name] * speed for name in _DURATIONS if name in record}
    if "rate_bit_s" in record:
        converted["rate_bit_s"] = record["rate_bit_s"] / speed
    return converted


def is_comparable(record: dict[str, Any], scale: Timescale | None) -> bool:
    """Return whether scenario time neither jumped nor changed its speed while a probe was under way."""
    if scale is None or scale.is_real:
        return True
    arrived_s = record["monotonic_s"]
    took_s = record.get("rtt_s", record.get("there_s", 0.0)) + record.get("turnaround_s", 0.0)
    return not scale.changes_within(arrived_s - took_s, arrived_s)
