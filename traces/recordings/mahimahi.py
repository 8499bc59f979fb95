"""Packet-delivery traces of mahimahi, and the delay files of LeoReplayer.

A mahimahi trace has one integer per line: the millisecond of an opportunity to deliver 1500 bytes. Repeated
numbers add up, numbers never decrease, and the file starts over when it ends (mm-link(1)). LeoReplayer adds a
file with one integer per 10 ms, the one-way delay in ms, which starts over as well.

Delivery opportunities are counted over bins of `bin_s`. An empty bin does not mean an outage, since packets
in mahimahi wait for the next opportunity; its time is therefore added to that of the next bin. A direction
is down after `outage_s` without an opportunity in its file.
"""

from __future__ import annotations

import numpy as np

from traces.errors import TraceError
from traces.numbers import Floats, read_table
from traces.recordings.plausibility import LONGEST_DELAY_S
from traces.recordings.recording import DELAYS, SATURATED, Assumptions, Recording
from traces.trace import Trace
from traces.units import DURATION_UNITS_S

CHANCE_BITS = 12_000
DELAY_STEP_S = 0.01
_MOST_MS = 1e12
_MOST_CHANCES = 500_000_000


def sniff(head: bytes) -> bool:
    """Tell whether the file begins with lines of integers that never decrease."""
    lines = [line.strip() for line in head.split(b"\n")[:200]]
    lines = lines[:-1] if len(lines) < 200 and not head.endswith(b"\n") and len(lines) > 1 else lines
    lines = [line for line in lines if line]
    if not lines or not all(line.isdigit() and len(line) < 16 for line in lines):
        return False
    numbers = list(map(int, lines))
    return numbers == sorted(numbers)


def read(data: bytes, name: str, assumptions: Assumptions) -> Recording:
    """Read a trace of the downlink, which is used for the uplink too unless something else is given.

    Raises:
        TraceError: The file is invalid; the message names the line and what was expected.
    """
    time_ms = read_table(data, name, 1)[0]
    if (bad := first_bad(time_ms)) is not None:
        raise TraceError(f"{name}, line {bad + 1}: expected a whole number of ms; found {time_ms[bad]:g}")
    if (falls := np.flatnonzero(time_ms[1:] < time_ms[:-1])).size:
        line, found = int(falls[0]) + 2, time_ms[falls[0] + 1]
        raise TraceError(f"{name}, line {line}: expected no less than the line before; found {found:g}")
    if time_ms[-1] == 0:
        raise TraceError(f"{name}, line {len(time_ms)}: expected an end later than 0 ms; found 0")
    time_s, rate_bit_s, end_s = _rates(time_ms, assumptions)
    notes = [
        f"delivery opportunities of 1500 bytes (12000 bits), counted over {assumptions.bin_s:g} s",
        SATURATED,
        "mahimahi repeats the file; this trace ends where the file does (see --loop)",
    ]
    up = rate_bit_s > 0
    if not up.all():
        notes.append(f"a direction is down after {assumptions.outage_s:g} s without a delivery opportunity")
    return Recording(
        "mahimahi",
        name,
        time_s,
        end_s,
        {"down_bit_s": rate_bit_s},
        downlink_up=None if up.all() else up,
        notes=notes,
        substitutes={"up_bit_s": rate_bit_s},
    )


def first_bad(whole: Floats) -> int | None:
    """Return the index of the first number that is not an integer from 0 to 10^12, or None."""
    good = (whole >= 0) & (whole <= _MOST_MS) & (whole == np.floor(whole))
    return None if good.all() else int(np.argmin(good))


def _rates(time_ms: Floats, assumptions: Assumptions) -> tuple[Floats, Floats, float]:
    """Return start and rate of each row, and the end; an opportunity at t belongs to the time before t."""
    end_s = float(time_ms[-1]) / 1e3
    bins = np.maximum(np.ceil(np.round(time_ms / (1e3 * assumptions.bin_s), 6)) - 1, 0)
    firsts = np.flatnonzero(np.append(True, bins[1:] != bins[:-1]))
    counts = np.diff(np.append(firsts, len(bins)))
    full = bins[firsts]
    ends_s = np.minimum(np.round((full + 1) * assumptions.bin_s, 9), end_s)
    starts_s = np.append(0.0, ends_s[:-1])  # a bin includes the empty ones before it
    own_s = np.round(full * assumptions.bin_s, 9)
    out = own_s - starts_s >= assumptions.outage_s  # ... unless they are an outage
    starts_s = np.asarray(np.where(out, own_s, starts_s), dtype=np.float64)
    rate_bit_s: Floats = np.asarray(counts * CHANCE_BITS / (ends_s - starts_s), dtype=np.float64)
    gaps = np.flatnonzero(out)
    before_s = np.append(0.0, ends_s)[gaps]
    rates = np.insert(np.round(rate_bit_s, 6), gaps, 0.0)  # equal rates of equal bins, in spite of rounding
    return np.insert(starts_s, gaps, before_s), rates, end_s


def sniff_delays(head: bytes) -> bool:
    """Return False: integers could be anything, so the format must be named, or used with --delay-from."""
    return False


def read_delays(data: bytes, name: str, assumptions: Assumptions) -> Recording:
    """Read LeoReplayer's delays: one integer in ms per 10 ms, used for both directions.

    Raises:
        TraceError: The file is invalid; the message names the line and what was expected.
    """
    delay_ms = read_table(data, name, 1)[0]
    if (bad := first_bad(delay_ms)) is not None:
        raise TraceError(f"{name}, line {bad + 1}: expected a delay in whole ms; found {delay_ms[bad]:g}")
    unit_s = DURATION_UNITS_S[assumptions.delay_unit]
    if (typical_s := float(np.median(delay_ms)) * unit_s) > LONGEST_DELAY_S:
        raise TraceError(
            f"{name}: expected delays in {assumptions.delay_unit}, below {LONGEST_DELAY_S:g} s;"
            f" found {typical_s:g} s, typically; say the unit of the integers with --delay-unit, such as ns"
        )
    changes = np.flatnonzero(np.append(True, delay_ms[1:] != delay_ms[:-1]))
    delay_s, end_s = delay_ms[changes] / round(1 / unit_s), len(delay_ms) * DELAY_STEP_S
    del delay_ms  # frees memory before the trace is built
    return Recording(
        "leoreplayer-delay",
        name,
        np.multiply(changes, DELAY_STEP_S, dtype=np.float64),
        end_s,
        dict.fromkeys(DELAYS, delay_s),
        notes=[f"one-way delays in whole {assumptions.delay_unit}, one per 10 ms, for both directions"],
    )


def with_uplink(down: Recording, up: Recording) -> Recording:
    """Combine the two directions of a recording; the shorter one starts over, as in mm-link."""
    end_s = max(down.end_s, up.end_s)
    notes = list(dict.fromkeys([*down.notes, *up.notes]))
    for recording, direction in ((down, "downlink"), (up, "uplink")):
        if recording.end_s < end_s:
            notes.append(f"the {direction} file, {recording.end_s:g} s long, starts over until {end_s:g} s")
    down_s, down_bit_s = _repeated(down, "down_bit_s", end_s)
    up_s, up_bit_s = _repeated(up, "down_bit_s", end_s)
    time_s = np.union1d(down_s, up_s)
    values = {
        "down_bit_s": down_bit_s[np.searchsorted(down_s, time_s, side="right") - 1],
        "up_bit_s": up_bit_s[np.searchsorted(up_s, time_s, side="right") - 1],
    }
    return Recording(
        "mahimahi",
        down.name,
        time_s,
        end_s,
        values,
        downlink_up=values["down_bit_s"] > 0,
        uplink_up=values["up_bit_s"] > 0,
        notes=notes,
    )


def _repeated(recording: Recording, column: str, end_s: float) -> tuple[Floats, Floats]:
    times = int(np.ceil(end_s / recording.end_s))
    if times * len(recording.time_s) > 50_000_000:
        raise TraceError(
            f"{recording.name}: expected a length similar to {end_s:g} s; found {recording.end_s:g} s"
        )
    starts_s = np.repeat(np.arange(times) * recording.end_s, len(recording.time_s))
    time_s = starts_s + np.tile(recording.time_s, times)
    inside = time_s < end_s
    return time_s[inside], np.tile(recording.values[column], times)[inside]


def write(trace: Trace, direction: str) -> bytes:
    """Return one direction of a trace ("down" or "up") as a mahimahi trace.

    A delivery opportunity is in the ms in which the last of its 12000 bits has passed. The format cannot
    represent an end without opportunities, so such an end is lost.

    Raises:
        TraceError: There is no delivery opportunity, or there are more than 500 million.
    """
    up = getattr(trace, f"{direction}link_up")
    bits = np.cumsum(trace.lengths_s() * np.where(up, getattr(trace, f"{direction}_bit_s"), 0.0))
    total = int(bits[-1] / CHANCE_BITS + 1e-6)
    if not 1 <= total <= _MOST_CHANCES:
        raise TraceError(
            f"{direction}: expected 1 to {_MOST_CHANCES} delivery opportunities of 1500 bytes; found {total}"
        )
    wanted = np.arange(1, total + 1) * float(CHANCE_BITS)
    ends_s = np.append(trace.time_s[1:], trace.end_s)
    time_s = np.interp(wanted, np.append(0.0, bits), np.append(0.0, ends_s))
    time_ms = np.ceil(np.round(time_s * 1e3, 6)).astype(np.int64)
    return b"\n".join(b"%d" % moment for moment in np.maximum(time_ms, 1).tolist()) + b"\n"
