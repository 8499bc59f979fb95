"""Figures of a trace, for reports."""

from __future__ import annotations

from typing import Any

from traces.trace import Contact, Trace
from traces.utc import format_utc


def described(trace: Trace) -> dict[str, Any]:
    """Return a trace's header and contacts, ready for JSON."""
    header = trace.header
    epoch = header.element_epoch_utc
    return {
        "satellite": header.satellite,
        "station": header.station,
        "start_utc": format_utc(header.start_utc),
        "length_s": trace.end_s,
        "made_by": header.made_by,
        "element_epoch_utc": format_utc(epoch) if epoch else None,
        "notes": list(header.notes),
        "rows": len(trace),
        "contacts": [_described_contact(trace, contact) for contact in trace.contacts()],
    }


def up_time(trace: Trace, digits: str = ".6g") -> str:
    """Return how much of a trace is up, such as "17 of 20 s up"."""
    length = f"{trace.end_s:{digits}} s"
    both_s, either_s = (sum(one.duration_s for one in trace.contacts(of)) for of in ("both", "either"))
    if both_s == either_s:
        return f"{both_s:{digits}} of {length} up"
    down_s, up_s = (carried(trace, way)[0] for way in ("down", "up"))
    return f"{length}, downlink up for {down_s:{digits}} s and uplink for {up_s:{digits}} s"


def carried(trace: Trace, way: str) -> tuple[float, float]:
    """Return for how many seconds a direction ("down" or "up") is up, and the bytes that it carries then."""
    up = getattr(trace, f"{way}link_up")
    lengths_s = trace.lengths_s()[up]
    return float(lengths_s.sum()), float(lengths_s @ getattr(trace, f"{way}_bit_s")[up]) / 8


def _described_contact(trace: Trace, contact: Contact) -> dict[str, float | None]:
    """Return the figures of a contact; delays of a direction that is never up are None."""
    inside = (trace.time_s >= contact.aos_s) & (trace.time_s < contact.los_s)
    described: dict[str, float | None] = {
        "aos_s": contact.aos_s,
        "los_s": contact.los_s,
        "duration_s": round(contact.duration_s, 6),
    }
    for way in ("down", "up"):
        up = inside & getattr(trace, f"{way}link_up")
        lengths_s, rate_bit_s = trace.lengths_s()[up], getattr(trace, f"{way}_bit_s")[up]
        delay_s = getattr(trace, f"{way}_delay_s")[up]
        bits = float(lengths_s @ rate_bit_s)
        described |= {
            f"{way}link_up_s": round(float(lengths_s.sum()), 6),
            f"{way}_mean_bit_s": bits / contact.duration_s,
            f"{way}_peak_bit_s": float(rate_bit_s.max(initial=0.0)),
            f"{way}_delay_least_s": float(delay_s.min()) if delay_s.size else None,
            f"{way}_delay_most_s": float(delay_s.max()) if delay_s.size else None,
            f"{way}_bytes": bits / 8,
        }
    return described
