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


def _described_contact(trace: Trace, contact: Contact) -> dict[str, float]:
    inside = (trace.time_s >= contact.aos_s) & (trace.time_s < contact.los_s)
    lengths_s = trace.lengths_s()[inside]
    down_bits = float(lengths_s @ trace.down_bit_s[inside])
    up_bits = float(lengths_s @ trace.up_bit_s[inside])
    return {
        "aos_s": contact.aos_s,
        "los_s": contact.los_s,
        "duration_s": round(contact.duration_s, 6),
        "down_mean_bit_s": down_bits / contact.duration_s,
        "down_peak_bit_s": float(trace.down_bit_s[inside].max()),
        "up_mean_bit_s": up_bits / contact.duration_s,
        "down_delay_least_s": float(trace.down_delay_s[inside].min()),
        "down_delay_most_s": float(trace.down_delay_s[inside].max()),
        "up_delay_least_s": float(trace.up_delay_s[inside].min()),
        "up_delay_most_s": float(trace.up_delay_s[inside].max()),
        "down_bytes": down_bits / 8,
        "up_bytes": up_bits / 8,
    }
