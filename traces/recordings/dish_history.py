"""History of a Starlink dish: the answer to `get_history`, one value a second in ring buffers.

grpcurl writes JSON with `dishGetHistory`, `current`, `popPingLatencyMs`, ...; with the names of the
protocol's fields it is `dish_get_history`, `pop_ping_latency_ms`, ... `current` counts all samples since the
dish was started: the newest one is at index (current - 1) modulo the buffers' length.

The latency is a round trip to the point of presence, and the drop rate is that of round trips. The throughput
is what was used, not what the link could carry; it is used only if no rate is given.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from traces.errors import TraceError
from traces.numbers import Floats
from traces.recordings.json_documents import json_documents, number_at
from traces.recordings.probes import each_way, runs_of
from traces.recordings.recording import LOSSES, RATES, Assumptions, Recording, both_ways
from traces.recordings.rows import filled
from traces.recordings.sampling import halves

_HISTORY = "dish_get_history"
_LATENCY, _DROP = "pop_ping_latency_ms", "pop_ping_drop_rate"
_THROUGHPUT = {"down_bit_s": "downlink_throughput_bps", "up_bit_s": "uplink_throughput_bps"}
_SNIFFED = (b'"dishGetHistory"', b'"dish_get_history"', b'"popPingDropRate"', b'"pop_ping_drop_rate"')
_USED = (
    "{name} is the throughput that was used, not what the link could carry, held over seconds without"
    " traffic; to set a capacity, add {option}"
)


def sniff(head: bytes) -> bool:
    """Tell whether the beginning is that of a dish's history."""
    return head.lstrip()[:1] in (b"{", b"[") and any(key in head for key in _SNIFFED)


def read(data: bytes, name: str, assumptions: Assumptions) -> Recording:
    """Read the seconds that the history holds, the oldest first.

    Raises:
        TraceError: The file is invalid; the message says what was expected.
    """
    documents = list(json_documents(data, name))
    if len(documents) != 1:
        raise TraceError(f"{name}: expected one history of a dish; found {len(documents)} JSON documents")
    where, document = documents[0]
    history = _snake(document)
    history = _snake(history.get(_HISTORY, history))
    buffers = {key: _buffer(where, history, key) for key in (_LATENCY, _DROP, *_THROUGHPUT.values())}
    sizes = {len(buffer) for buffer in buffers.values() if buffer is not None}
    if len(sizes) != 1 or buffers[_LATENCY] is None or buffers[_DROP] is None:
        raise TraceError(f"{where}: expected {_LATENCY} and {_DROP}, and buffers of one length")
    size, current = sizes.pop(), number_at(history, "current")
    if not current >= 1 or current != int(current):
        raise TraceError(f"{where}: expected current, the number of samples, from 1; found {current:g}")
    order = _order(size, int(current))
    columns = {key: buffer[order] for key, buffer in buffers.items() if buffer is not None}
    count = len(order)
    time_s = np.arange(count, dtype=np.float64)
    notes = ["one sample a second, the oldest first"]
    drop = columns[_DROP]
    if (greatest := float(np.nanmax(np.append(drop, 0.0)))) > 1:
        raise TraceError(f"{where}: expected {_DROP} from 0 to 1; found {greatest:g}")
    lost = ~(drop < 1)
    outages = runs_of(lost, time_s, assumptions.outage_s).inside if assumptions.outage_s > 1 else lost
    if outages.any():
        notes.append(f"all pings were lost for {int(outages.sum())} s in total: the link is down")
    if np.isnan(drop).any():
        notes.append(f"{int(np.isnan(drop).sum())} seconds without a drop rate are taken for lost")
    latency_ms = np.where(lost | ~(columns[_LATENCY] > 0), math.nan, columns[_LATENCY])
    values = halves(latency_ms / 1e3, notes)
    notes.append("drop rates are those of round trips, divided between both directions")
    values |= dict.fromkeys(LOSSES, each_way(np.where(lost, 1.0, drop)))
    substitutes, reasons = _throughput(columns)
    return Recording(
        "dish-history", name, time_s, float(count), values, notes=notes, substitutes=substitutes,
        substitute_notes=reasons, **both_ways(~outages),
    )  # fmt: skip


def _throughput(columns: Mapping[str, Floats]) -> tuple[dict[str, Floats], dict[str, str]]:
    """Return the throughput in bit/s, and what is said of it if it is used."""
    used, reasons = {}, {}
    for name, key in _THROUGHPUT.items():
        if key not in columns:
            continue
        # A second without traffic tells nothing about the rate of the link.
        column = filled(name, np.where(columns[key] > 0, columns[key], math.nan), [])
        if column is not None:
            used[name] = column
            reasons[name] = _USED.format(name=name, option="--rate" if name == RATES[0] else "--up-rate")
    return used, reasons


def _order(size: int, current: int) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Return the indices of a ring buffer's samples, from the oldest to the newest."""
    if current <= size:
        return np.arange(current)
    return (np.arange(size) + current) % size


def _snake(value: Any) -> dict[str, Any]:
    """Return an object with its keys as in the protocol's definition, such as pop_ping_latency_ms."""
    if not isinstance(value, dict):
        return {}
    return {re.sub(r"(?<=[a-z])([A-Z])", r"_\1", str(key)).lower(): part for key, part in value.items()}


def _buffer(where: str, history: dict[str, Any], key: str) -> Floats | None:
    values = history.get(key)
    if values is None:
        return None
    if not isinstance(values, list) or not values:
        raise TraceError(f"{where}: expected a list of numbers for {key}; found {str(values)[:40]!r}")
    numbers = np.array([number_at({"": value}, "") for value in values])
    known = np.isfinite(numbers)
    if (numbers[known] < 0).any() or any(values[row] not in (None, "NaN") for row in np.flatnonzero(~known)):
        raise TraceError(f"{where}: expected numbers from 0 for {key}")
    return numbers
