"""What the probes measure of a link, while a run goes and after it, as samples for a plot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypeAlias

from nodes.clocks.timescale import Timescale
from nodes.contract.files import tail
from testbed.measure.scenario_time import in_scenario_time, is_comparable

LATEST_BYTES = 256 << 10  # of a probe's records: five minutes of round trips, parsed in some milliseconds

Samples: TypeAlias = dict[str, list[dict[str, float]]]
"""`rtt` in seconds and `down_rate` in bit/s, each of `time_s` and `measured`."""


def measuring(satellite_log: Path, ground_log: Path, scale: Timescale) -> Samples:
    """Return the latest measurements of a run in progress, with those that met other traffic.

    Args:
        satellite_log: records of the probe at the link's first end, which measures round trips.
        ground_log: those of the other end, which receives trains of packets.
        scale: scenario time.
    """
    return {
        "rtt": _latest(satellite_log, "rtt", "rtt_s", scale),
        "down_rate": _latest(ground_log, "train", "rate_bit_s", scale),
    }


def measured(fidelity: Path, link: str) -> Samples | None:
    """Return the measurements of a finished run; None if the link was not measured.

    Args:
        fidelity: fidelity.json of the run.
        link: name of the link.
    """
    try:
        records = json.loads(fidelity.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    found = next((record for record in records if record.get("link") == link), None)
    if found is None:
        return None
    return {
        name: [{"time_s": one["time_s"], "measured": one["measured"]} for one in found[name]]
        for name in ("rtt", "down_rate")
    }


def _latest(log: Path, kind: str, value: str, scale: Timescale) -> list[dict[str, float]]:
    try:
        lines = tail(log, LATEST_BYTES).splitlines()
    except OSError:
        return []
    samples = []
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:  # the first line, which the tail has cut, or the last one, half written
            continue
        if record.get("kind") == kind and is_comparable(record, scale):
            record = in_scenario_time(record, scale)
            time_s = record["monotonic_s"] - scale.start_monotonic_s
            samples.append({"time_s": time_s, "measured": record[value]})
    return samples
