"""The tables at the end of a replay: what was carried, and how well the link followed the trace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from testbed.machine.processor_load import load_text
from testbed.measure.fidelity import WAYS, LinkFidelity
from testbed.measure.requested import Way
from testbed.replay.timeline import Timeline

NAMES: Mapping[Way, str] = {"down": "downlink", "up": "uplink"}
# What each reason for a loss is called, in the counters of the shapers.
REASONS = {
    "lost": "by the link's loss",
    "dropped_queue": "by a full queue",
    "dropped_down": "outside contacts",
    "purged": "at the end of a contact",
    "kernel_dropped": "by the machine",
    "dropped": "by loss or a full queue, since the last contact began",
}

Row = tuple[str, ...]


@dataclass(frozen=True)
class Tables:
    """Rows as text; the first of each table holds the headings.

    Attributes:
        carried: what each direction could carry, was offered and carried.
        accuracy: requested and measured RTTs, rates and losses.
        notes: one line each.
    """

    carried: tuple[Row, ...]
    accuracy: tuple[Row, ...]
    notes: tuple[str, ...]


def tables(played: Timeline, fidelity: LinkFidelity | None, counters: Mapping[str, Any]) -> Tables:
    """Return the tables of a replay.

    Args:
        played: the replay as a timeline.
        fidelity: what the probes measured; None without probes.
        counters: of the shaper, by direction.
    """
    carried: list[Row] = [("Mbit/s, mean", "requested", "offered", "carried", "used")]
    accuracy: list[Row] = [("", "requested", "measured", "error", "n")]
    if fidelity is not None:
        accuracy += _round_trips(fidelity)
    for way in WAYS:
        its = played.carried[way]
        rates = [
            size * 8 / played.played_s / 1e6
            for size in (its.requested_bytes, its.offered_bytes, its.carried_bytes)
        ]
        used = f"{its.carried_bytes / its.requested_bytes:.1%}" if its.requested_bytes else "-"
        carried.append((NAMES[way], *(f"{rate:.3f}" for rate in rates), used))
        accuracy += _rates(played, fidelity, way)
        accuracy += _loss(its.requested_loss, counters[way], way)
    notes = [note for way in WAYS if (note := _reasons(counters[way], way))]
    if fidelity is None:
        notes.append("delays were not measured: --no-probe")
    else:
        queues_s = [one.queue for one in fidelity.queued_rtt if one.queue is not None]
        if queues_s:
            notes.append(f"queue: {_ms(float(np.median(queues_s)))} (median), {_ms(max(queues_s))} at most")
        if fidelity.unanswered_s:
            lost = len(fidelity.unanswered_s)
            sent = lost + len(fidelity.rtt) + len(fidelity.queued_rtt)
            notes.append(f"RTT probes lost: {lost} of {sent}")
        if fidelity.load is not None:
            notes.append(load_text(fidelity.load))
    return Tables(tuple(carried), tuple(accuracy), tuple(notes))


def _round_trips(fidelity: LinkFidelity) -> list[Row]:
    s = fidelity.summary()
    rows: list[Row] = []
    if fidelity.rtt:
        error = _errors(s["rtt_error_p50_s"], s["rtt_error_p99_s"])
        requested = _ms(s["requested_rtt_s"])
        rows.append(("RTT, no queue", requested, _ms(s["measured_rtt_s"]), error, str(len(fidelity.rtt))))
    if fidelity.queued_rtt:
        requested, measured = _ms(s["queued_requested_rtt_s"]), _ms(s["queued_measured_rtt_s"])
        count = str(len(fidelity.queued_rtt))
        if s["queued_wait_s"] is None:  # the link does not tell its queue
            rows.append(("RTT, behind traffic", f"{requested} + queue", measured, "-", count))
        else:
            error = _errors(s["queued_rtt_error_p50_s"], s["queued_rtt_error_p99_s"])
            rows.append(("RTT + queue", _ms(s["queued_expected_rtt_s"]), measured, error, count))
    return rows


def _rates(played: Timeline, fidelity: LinkFidelity | None, way: Way) -> list[Row]:
    rows: list[Row] = []
    its = played.carried[way]
    if its.full_requested_bit_s is not None and its.full_carried_bit_s is not None:
        rates = _mbit(its.full_requested_bit_s), _mbit(its.full_carried_bit_s)
        rows.append((f"{NAMES[way]}, full", *rates, _percent(its.full_rate_error), f"{its.full_s:.0f} s"))
    samples = () if fidelity is None else getattr(fidelity, f"{way}_rate")
    if fidelity is not None and samples:
        s = fidelity.summary()
        rates = _mbit(s[f"requested_{way}_bit_s"]), _mbit(s[f"measured_{way}_bit_s"])
        rows.append((f"{NAMES[way]}, trains", *rates, _percent(s[f"{way}_rate_error"]), str(len(samples))))
    return rows


def _loss(requested: float, counters: Mapping[str, Any], way: Way) -> list[Row]:
    """Return the share of packets that the link's loss took, where the shaper counts that by itself."""
    crossed = counters.get("lost", 0) + counters.get("delivered", 0)
    if "lost" not in counters or not crossed or not (requested or counters["lost"]):
        return []
    measured = counters["lost"] / crossed
    shown = f"{requested:.2%}", f"{measured:.2%}", f"{measured - requested:+.2%}"
    return [(f"{NAMES[way]}, loss", *shown, f"{crossed:.0f}")]


def _reasons(counters: Mapping[str, Any], way: Way) -> str:
    """Return what became of the packets that did not arrive, or an empty text."""
    gone = [f"{counters[name]:.0f} {text}" for name, text in REASONS.items() if counters.get(name)]
    total = counters.get("arrived")
    of = f" of {total:.0f}" if total else ""
    return f"{NAMES[way]}: packets lost{of}: {', '.join(gone)}" if gone else ""


def _errors(p50_s: float, p99_s: float) -> str:
    return f"p50 {p50_s * 1e3:.2f}, p99 {_ms(p99_s)}"


def _ms(value_s: float) -> str:
    return f"{value_s * 1e3:.2f} ms"


def _mbit(value_bit_s: float) -> str:
    return f"{value_bit_s / 1e6:.3f} Mbit/s"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:+.2%}"
