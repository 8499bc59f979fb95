"""Logs of mm-link (`--downlink-log`, `--uplink-log`), of mahimahi and of LeoReplayer, which is a fork of it.

    # mahimahi mm-link (downlink) [trace.down] > log
    # init timestamp: 1700000000000         ms since 1970
    # base timestamp: 12                    start of the trace, in ms since then; LeoReplayer: since 1970
    15 # 1504                               an opportunity to deliver so many bytes
    15 + 1500                               a packet came
    15 - 1500 3                             it left, after 3 ms
    15 d 1 1500                             packets were dropped

The opportunities are the link. What the packets met on it is the traffic of that run, and is not used.
"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from traces.errors import TraceError
from traces.numbers import LONGEST_LINE, lines_of, shown
from traces.recordings import mahimahi
from traces.recordings.recording import Assumptions, Recording
from traces.recordings.sampling import from_epoch

FORM = "mahimahi-log"
_START = b"# mahimahi mm-link"
_DIRECTION = re.compile(rb"# mahimahi mm-link \((?:.*?)(down|up)link", re.IGNORECASE)
_TIMESTAMP = re.compile(rb"# (init|base) timestamp: (\d{1,15})")
_EVENT = re.compile(rb"(\d{1,15}) (?:(#) (\d{1,6})|\+ \d+|- \d+ \d+|d \d+ \d+)")
_SINCE_1970_MS = 1e11
_NAMES = {"down": "down_bit_s", "up": "up_bit_s"}


def sniff(head: bytes) -> bool:
    """Tell whether the file begins as a log of mm-link."""
    return head.startswith(_START)


def read(data: bytes, name: str, assumptions: Assumptions) -> Recording:
    """Read the opportunities of one direction, which is used for the other one if nothing else is given.

    Raises:
        TraceError: The file is invalid; the message names the line and what was expected.
    """
    stamps_ms: dict[bytes, int] = {}
    times_ms: list[int] = []
    sizes: set[int] = set()
    direction = "down"
    for number, line in lines_of(data):
        event = _EVENT.fullmatch(line.strip())
        if event is None:
            if found := _DIRECTION.match(line):
                direction = found[1].decode().lower()
            elif found := _TIMESTAMP.match(line):
                stamps_ms[found[1]] = int(found[2])
            elif line.strip() and not line.startswith(b"#"):
                expected = "an event such as '15 # 1504'"
                raise TraceError(
                    f"{name}, line {number}: expected {expected}; found {shown(line[:LONGEST_LINE])}"
                )
        elif event[2]:
            times_ms.append(int(event[1]))
            sizes.add(int(event[3]))
    if not times_ms or b"base" not in stamps_ms:
        missing = "opportunities such as '15 # 1504'" if not times_ms else "'# base timestamp: N'"
        raise TraceError(f"{name}, line 1: expected {missing}; found none")
    if len(sizes) > 1 or not min(sizes):
        raise TraceError(f"{name}: expected opportunities of one size; found {sorted(sizes)[:4]}")
    base_ms, size = stamps_ms[b"base"], sizes.pop()
    lines = np.array(times_ms) - base_ms
    if lines[0] < 0:
        raise TraceError(
            f"{name}: expected opportunities from {base_ms} on, the base timestamp; found {times_ms[0]}"
        )
    read = mahimahi.read(b"\n".join(b"%d" % time_ms for time_ms in lines.tolist()), name, assumptions)
    rate_bit_s = read.values["down_bit_s"] * (size * 8 / mahimahi.CHANCE_BITS)
    other = "up" if direction == "down" else "down"
    notes = [note for note in read.notes if "1500" not in note]
    notes.append(
        f"opportunities to deliver {size} bytes, counted over {assumptions.bin_s:g} s, as logged by mm-link"
    )
    start_ms = base_ms if base_ms > _SINCE_1970_MS else stamps_ms.get(b"init", 0) + base_ms
    return replace(
        read,
        form=FORM,
        values={_NAMES[direction]: rate_bit_s},
        substitutes={_NAMES[other]: rate_bit_s},
        downlink_up=read.downlink_up if direction == "down" else None,
        uplink_up=read.downlink_up if direction == "up" else None,
        notes=notes,
        start_utc=from_epoch(name, start_ms / 1e3) if start_ms > _SINCE_1970_MS else None,
    )
