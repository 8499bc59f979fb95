"""CSV files of LENS (Zhao and Pan, MMSys'24): IRTT and ping.

IRTT: `timestamp,rtt,uplink,downlink`, in ns since 1970 and ms. A -1 in one of the last three columns marks
where a packet was lost; a 0 in the others is then not a delay. The uplink is the direction from the dish.

Ping: `timestamp,rtt`, in s since 1970 and ms.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from traces.errors import TraceError
from traces.numbers import Floats, check_rows, read_table
from traces.recordings.probes import each_way, inside_all, runs_of, shares_lost
from traces.recordings.recording import LOSSES, Assumptions, Bools, Recording
from traces.recordings.sampling import from_epoch, halves, in_order, sampled

_IRTT, _PING = b"timestamp,rtt,uplink,downlink", b"timestamp,rtt"
_LONGEST_MS, _MOST_MS = 1e6, 1e9
_YEAR_2262_NS = 9.2e18


def sniff_irtt(head: bytes) -> bool:
    """Tell whether the file begins with IRTT's column names."""
    return _first_line(head) == _IRTT


def sniff_ping(head: bytes) -> bool:
    """Tell whether the file begins with ping's column names."""
    return _first_line(head) == _PING


def read_irtt(data: bytes, name: str, assumptions: Assumptions) -> Recording:
    """Read an IRTT recording.

    The recorded one-way delays are used only if all of them are possible, between 0 and the RTT. They are not
    if the clocks of both ends differ, which adds an offset to one direction and subtracts it from the other.

    Raises:
        TraceError: The file is invalid; the message names the line and what was expected.
    """
    table = read_table(data, name, 4, start=_after_names(data, name, _IRTT))
    time_ns, rtt_ms, up_ms, down_ms = table
    _check_time(name, time_ns, _YEAR_2262_NS, "ns since 1970")
    _check_rtt(name, rtt_ms)
    for column, what in ((up_ms, "uplink"), (down_ms, "downlink")):
        if max(-column.min(), column.max()) > _MOST_MS:  # clocks may differ by this much
            good = np.abs(column) <= _MOST_MS
            check_rows(name, good, 2, f"{what} in ms, or -1 for a loss", column.item)
    notes: list[str] = []
    names = ("rtt", "uplink", "downlink")
    time_ns, columns = in_order(time_ns, dict(zip(names, (rtt_ms, up_ms, down_ms), strict=True)), notes)
    rtt_ms, up_ms, down_ms = (columns[key] for key in names)
    wrong_clocks = ((up_ms < 0) & (up_ms != -1)) | ((down_ms < 0) & (down_ms != -1))
    clocks_agree = not wrong_clocks.any()
    lost = {key: columns[key] == -1 for key in names}
    if not clocks_agree:  # -1 may then be a delay; a loss has an RTT of 0
        lost["uplink"] &= rtt_ms == 0
        lost["downlink"] &= rtt_ms == 0
    came = ~(lost["rtt"] | lost["uplink"] | lost["downlink"])
    possible = clocks_agree and bool(((up_ms <= rtt_ms) & (down_ms <= rtt_ms))[came].all())
    if possible:
        notes.append(
            "one-way delays as recorded; they are possible, but the difference of the clocks is not known"
        )
        values = {"down_delay_s": _known(down_ms, came), "up_delay_s": _known(up_ms, came)}
    else:
        notes.append("recorded one-way delays are not used: they are impossible, so the clocks differed")
        values = halves(_known(rtt_ms, came), notes)
    time_s = (time_ns - time_ns[0]) / 1e9
    losses, ups = _losses(lost, time_s, assumptions, notes)
    start_utc = from_epoch(name, float(time_ns[0]) / 1e9)
    return sampled("lens-irtt", name, time_s, values | losses, notes, start_utc=start_utc, **ups)


def read_ping(data: bytes, name: str, assumptions: Assumptions) -> Recording:
    """Read a ping recording.

    A lost probe has an RTT of -1. Most files have no line for it; the loss is then not known, and a time
    without lines is a gap.

    Raises:
        TraceError: The file is invalid; the message names the line and what was expected.
    """
    time_s, rtt_ms = read_table(data, name, 2, start=_after_names(data, name, _PING))
    _check_time(name, time_s, _YEAR_2262_NS / 1e9, "s since 1970")
    _check_rtt(name, rtt_ms)
    notes: list[str] = []
    time_s, columns = in_order(time_s, {"rtt": rtt_ms}, notes)
    came = columns["rtt"] >= 0
    if (absent := _absent(time_s)) and came.all():
        notes.append(
            f"doubt: at the usual interval {absent} probes have no row; lost ones may have been left out, so"
            " the loss is not known"
        )
    values = halves(_known(columns["rtt"], came), notes)
    ups: dict[str, Any] = {}
    if not came.all():
        losses, ups = _losses({"rtt": ~came}, time_s - time_s[0], assumptions, notes)
        values |= losses
    start_utc = from_epoch(name, float(time_s[0]))
    return sampled("lens-ping", name, time_s, values, notes, start_utc=start_utc, **ups)


def _absent(time_s: Floats) -> int:
    """Return how many rows are missing at the usual interval, outside of gaps."""
    steps_s = np.diff(time_s)
    if not steps_s.size:
        return 0
    usual_s = float(np.median(steps_s))
    missing = np.round(steps_s / usual_s) - 1
    return int(missing[steps_s - usual_s <= max(2 * usual_s, 1.0)].clip(0).sum())


def _first_line(head: bytes) -> bytes:
    return head.split(b"\n", 1)[0].strip().replace(b" ", b"").lower()


def _after_names(data: bytes, name: str, names: bytes) -> int:
    if _first_line(data[:4096]) != names:
        raise TraceError(f"{name}, line 1: expected the column names {names.decode()}")
    return data.find(b"\n") + 1 or len(data)


def _check_time(name: str, time: Floats, most: float, unit: str) -> None:
    # A wrong unit (ms for ns) is a factor of 1000 or more, which gives a time before 1980 or after 2262.
    if time.min() > most * 0.03 and time.max() < most:
        return
    good = (time > most * 0.03) & (time < most)
    check_rows(name, good, 2, f"a timestamp in {unit}", lambda row: f"{time[row]:.0f}")


def _check_rtt(name: str, rtt_ms: Floats) -> None:
    if rtt_ms.min() >= 0 and rtt_ms.max() <= _LONGEST_MS:
        return
    good = ((rtt_ms >= 0) | (rtt_ms == -1)) & (rtt_ms <= _LONGEST_MS)
    check_rows(name, good, 2, "a round trip in ms, or -1 for a loss", rtt_ms.item)


def _known(time_ms: Floats, came: Bools) -> Floats:
    time_s = time_ms / 1e3
    if not came.all():
        time_s[~came] = np.nan
    return time_s


def _losses(
    lost: dict[str, Bools], time_s: Floats, assumptions: Assumptions, notes: list[str]
) -> tuple[dict[str, Floats], dict[str, Any]]:
    """Return the loss of each direction, and which of them is up (nothing if both are throughout)."""
    window_s = assumptions.loss_window_s
    notes.append(f"loss is the share of probes lost within {window_s:g} s")
    if not any(column.any() for column in lost.values()):
        return dict.fromkeys(LOSSES, np.broadcast_to(0.0, len(time_s))), {}
    none = np.zeros(len(time_s), dtype=bool)
    up, down = lost.get("uplink", none), lost.get("downlink", none)
    outages = runs_of(lost["rtt"] | up | down, time_s, assumptions.outage_s)
    # In an outage of one direction, the other one may well have carried its packets.
    up_out, down_out = (inside_all(outages, column & ~lost["rtt"]) for column in (up, down))
    out = outages.inside & ~up_out & ~down_out
    notes += _outage_notes(out, up_out, down_out, assumptions.outage_s)
    counted = ~outages.inside
    share = {
        key: shares_lost(column, counted, time_s, window_s)
        for key, column in (("rtt", lost["rtt"]), ("up", up), ("down", down))
    }
    each = each_way(share["rtt"])
    if lost["rtt"].any():
        notes.append("losses of unknown direction are divided between both directions")
    losses = {
        "down_loss": 1 - (1 - each) * (1 - share["down"]),
        "up_loss": 1 - (1 - each) * (1 - share["up"]),
    }
    down_out, up_out = down_out | out, up_out | out
    if not (down_out | up_out).any():
        return losses, {}
    return losses, {"downlink_up": ~down_out, "uplink_up": ~up_out}


def _outage_notes(out: Bools, up_out: Bools, down_out: Bools, outage_s: float) -> list[str]:
    lasted = f"for {outage_s:g} s or more"
    notes = []
    if out.any():
        notes.append(f"no probe was answered {lasted} ({int(out.sum())} probes): the link is down")
    for where, direction in ((up_out, "uplink"), (down_out, "downlink")):
        if where.any():
            notes.append(f"the {direction} lost all probes {lasted} ({int(where.sum())} probes): it is down")
    return notes
