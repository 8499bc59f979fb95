"""mahimahi's packet-delivery traces, and LeoReplayer's delays beside them.

mahimahi: one integer per line, the millisecond of a chance to deliver 1500 bytes; repeats add up, numbers
never fall, and the file starts over when it ends (mm-link(1)).  LeoReplayer adds a file with one integer per
10 ms: the one-way delay in ms, which wraps around as well.

Chances are counted over `bin_s`.  Bins without any are no lost link in mahimahi, packets only wait for the
next chance: so a bin shares its chances with the empty ones before it.  `outage_s` without any is an outage.
"""

from __future__ import annotations

import numpy as np

from traces.errors import TraceError
from traces.numbers import Floats, read_table
from traces.recordings.recording import DELAYS, SATURATED, Assumptions, Recording
from traces.trace import Trace

CHANCE_BITS = 12_000
DELAY_STEP_S = 0.01
_MOST_MS = 1e12
_MOST_CHANCES = 500_000_000


def sniff(head: bytes) -> bool:
    """Tell whether lines of integers begin the file, none smaller than the one before."""
    lines = [line.strip() for line in head.split(b"\n")[:200]]
    lines = lines[:-1] if len(lines) < 200 and not head.endswith(b"\n") and len(lines) > 1 else lines
    lines = [line for line in lines if line]
    if not lines or not all(line.isdigit() and len(line) < 16 for line in lines):
        return False
    numbers = list(map(int, lines))
    return numbers == sorted(numbers)


def read(data: bytes, name: str, given: Assumptions) -> Recording:
    """Read a trace of one direction as both: `--up-file` gives the other one its own.

    Raises:
        TraceError: names file, line and what was expected.
    """
    time_ms = read_table(data, name, 1)[0]
    if (bad := first_bad(time_ms)) is not None:
        raise TraceError(f"{name}, line {bad + 1}: expected a whole number of ms; found {time_ms[bad]:g}")
    if (falls := np.flatnonzero(time_ms[1:] < time_ms[:-1])).size:
        line, found = int(falls[0]) + 2, time_ms[falls[0] + 1]
        raise TraceError(f"{name}, line {line}: expected no less than the line before; found {found:g}")
    if time_ms[-1] == 0:
        raise TraceError(f"{name}, line {len(time_ms)}: expected an end later than 0 ms; found 0")
    time_s, rate_bit_s, end_s = _rates(time_ms, given)
    notes = [
        f"chances of 1500 bytes (12000 bits), counted over {given.bin_s:g} s",
        SATURATED,
        "the file wraps around in mahimahi; this trace ends where the file does",
        "one direction was recorded: the other has the same rate, unless one was given",
    ]
    up = rate_bit_s > 0
    if not up.all():
        notes.append(f"the link is down where {given.outage_s:g} s or more passed without a chance")
    return Recording(
        "mahimahi", name, time_s, end_s, {"down_bit_s": rate_bit_s, "up_bit_s": rate_bit_s}, up, notes=notes
    )


def first_bad(whole: Floats) -> int | None:
    """Return the first that is no whole number from 0 to 10^12, or None."""
    good = (whole >= 0) & (whole <= _MOST_MS) & (whole == np.floor(whole))
    return None if good.all() else int(np.argmin(good))


def _rates(time_ms: Floats, given: Assumptions) -> tuple[Floats, Floats, float]:
    """Count chances: starts of rows, rate of each, end. A chance at ms t belongs to the time up to t."""
    end_s = float(time_ms[-1]) / 1e3
    bins = np.floor(np.minimum(time_ms / 1e3, np.nextafter(end_s, 0)) / given.bin_s)
    firsts = np.flatnonzero(np.append(True, bins[1:] != bins[:-1]))
    counts = np.diff(np.append(firsts, len(bins)))
    full = bins[firsts]
    ends_s = np.minimum((full + 1) * given.bin_s, end_s)
    starts_s = np.append(0.0, ends_s[:-1])  # the empty bins before it belong to it
    own_s = full * given.bin_s
    out = own_s - starts_s >= given.outage_s  # ... unless they are many
    starts_s = np.asarray(np.where(out, own_s, starts_s), dtype=np.float64)
    rate_bit_s: Floats = np.asarray(counts * CHANCE_BITS / (ends_s - starts_s), dtype=np.float64)
    gaps = np.flatnonzero(out)
    before_s = np.append(0.0, ends_s)[gaps]
    rates = np.insert(rate_bit_s, gaps, 0.0)
    return np.insert(starts_s, gaps, before_s), rates, end_s


def sniff_delays(head: bytes) -> bool:
    """Never: integers alone could be anything. Name it, or give the file to --delay-file."""
    return False


def read_delays(data: bytes, name: str, given: Assumptions) -> Recording:
    """Read LeoReplayer's delays: one integer of ms per 10 ms, the same both ways.

    Raises:
        TraceError: names file, line and what was expected.
    """
    delay_ms = read_table(data, name, 1)[0]
    if (bad := first_bad(delay_ms)) is not None:
        raise TraceError(f"{name}, line {bad + 1}: expected a delay in whole ms; found {delay_ms[bad]:g}")
    changes = np.flatnonzero(np.append(True, delay_ms[1:] != delay_ms[:-1]))
    delay_s, end_s = delay_ms[changes] / 1e3, len(delay_ms) * DELAY_STEP_S
    del delay_ms  # three bytes of the file became eight here, and will be 17 in the trace
    return Recording(
        "leoreplayer-delay",
        name,
        np.multiply(changes, DELAY_STEP_S, dtype=np.float64),
        end_s,
        dict.fromkeys(DELAYS, delay_s),
        notes=["one-way delays in whole ms, one per 10 ms; both ways the same"],
    )


def with_uplink(down: Recording, up: Recording) -> Recording:
    """Join the two directions of one recording; the shorter one starts over, as mm-link does."""
    end_s = max(down.end_s, up.end_s)
    notes = [note for note in down.notes if "one direction" not in note]
    for one, what in ((down, "downlink"), (up, "uplink")):
        if one.end_s < end_s:
            notes.append(f"the {what} file, {one.end_s:g} s long, starts over until {end_s:g} s")
    down_s, down_bit_s = _repeated(down, "down_bit_s", end_s)
    up_s, up_bit_s = _repeated(up, "up_bit_s", end_s)
    time_s = np.union1d(down_s, up_s)
    values = {
        "down_bit_s": down_bit_s[np.searchsorted(down_s, time_s, side="right") - 1],
        "up_bit_s": up_bit_s[np.searchsorted(up_s, time_s, side="right") - 1],
    }
    return Recording("mahimahi", down.name, time_s, end_s, values, notes=notes)


def _repeated(one: Recording, column: str, end_s: float) -> tuple[Floats, Floats]:
    times = int(np.ceil(end_s / one.end_s))
    if times * len(one.time_s) > 50_000_000:
        raise TraceError(
            f"{one.name}: {one.end_s:g} s long beside {end_s:g} s; expected files of like length"
        )
    starts_s = np.repeat(np.arange(times) * one.end_s, len(one.time_s))
    time_s = starts_s + np.tile(one.time_s, times)
    inside = time_s < end_s
    return time_s[inside], np.tile(one.values[column], times)[inside]


def write(trace: Trace, direction: str) -> bytes:
    """Return one direction ("down" or "up") as mahimahi's text, to the end of the trace.

    A chance stands at the ms in which the last of its 12000 bits has passed.  The format cannot say how long
    a trace without a chance at its end is: that end is lost.

    Raises:
        TraceError: not a single chance, or over 500 million of them.
    """
    bits = np.cumsum(trace.lengths_s() * np.where(trace.up, getattr(trace, f"{direction}_bit_s"), 0.0))
    total = int(bits[-1] / CHANCE_BITS + 1e-6)
    if not 1 <= total <= _MOST_CHANCES:
        raise TraceError(
            f"{direction}: {total} chances of 1500 bytes; mahimahi's files hold 1 to {_MOST_CHANCES}"
        )
    wanted = np.arange(1, total + 1) * float(CHANCE_BITS)
    ends_s = np.append(trace.time_s[1:], trace.end_s)
    time_s = np.interp(wanted, np.append(0.0, bits), np.append(0.0, ends_s))
    time_ms = np.ceil(np.round(time_s * 1e3, 6)).astype(np.int64)
    return b"\n".join(b"%d" % moment for moment in np.maximum(time_ms, 1).tolist()) + b"\n"
