"""Measure the speed of reading recordings: a day of probes every 10 ms (8.64 million rows).

For comparison, numpy.loadtxt reads 1/50 of the same numbers as CSV in the same run; the ratio is that of rows
per second. The whole day must load in less than 10 s into a checked trace.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

import numpy as np

from traces.recordings import Assumptions, read_recording
from traces.trace import Trace, TraceHeader
from traces.trace_file import write_trace

ROWS = 8_640_000
PEER_PART = 50
WITHIN_S = 10.0
START_NS = 1705744800616897349


def irtt(path: Path, rows: int) -> None:
    """Write an IRTT file of LENS."""
    with path.open("wb") as out:
        out.write(b"timestamp,rtt,uplink,downlink\n")
        out.writelines(
            b"%d,120.126123,72.4%05d,47.%05d\n" % (START_NS + n * 10_000_000, n % 99_991, n % 70_000)
            for n in range(rows)
        )


def ping(path: Path, rows: int) -> None:
    """Write output of `ping -D`."""
    line = b"[%d.%06d] 64 bytes from 100.64.0.1: icmp_seq=%d ttl=63 time=60.%d ms\n"
    with path.open("wb") as out:
        out.writelines(
            line % (1705744800 + n // 100, n % 100 * 10_000, n % 65536, n % 10) for n in range(rows)
        )


def own(path: Path, rows: int) -> None:
    """Write a trace whose numbers have 17 digits."""
    rng = np.random.default_rng(1)
    delays, none = rng.uniform(0.01, 0.05, (2, rows)), np.zeros(rows)
    header = TraceHeader("S", "G", datetime(2024, 1, 1, tzinfo=timezone.utc), "a benchmark")
    rates = rng.uniform(1e6, 1e8, (2, rows))
    up = np.ones(rows, dtype=bool)
    trace = Trace(header, np.arange(rows) * 0.01, up, up, *rates, *delays, none, none, rows * 0.01)
    write_trace(trace, path)


def numbers(path: Path, kind: str, part: Path) -> None:
    """Write only the numbers of a recording, as CSV."""
    with path.open("rb") as lines, part.open("wb") as out:
        for line in lines:
            if kind == "ping":
                words = line.split()
                out.write(b",".join((words[0][1:-1], words[5][9:], words[7][5:])) + b"\n")
            elif line[:1].isdigit():
                out.write(line)


def timed(function: Callable[[], object]) -> tuple[float, object]:
    """Return a function's duration in seconds and its result."""
    begin_s = time.perf_counter()
    result = function()
    return time.perf_counter() - begin_s, result


def main() -> int:
    """Print one line per format; return 1 if a format took too long."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=ROWS, help=f"number of rows ({ROWS}, a day)")
    parser.add_argument(
        "--format",
        choices=["irtt", "ping", "own"],
        action="append",
        help="format to measure; repeat it for several (all)",
    )
    arguments = parser.parse_args()
    late = False
    for write in (irtt, ping, own):
        if arguments.format and write.__name__ not in arguments.format:
            continue
        with tempfile.TemporaryDirectory() as folder:
            path, small, part = (Path(folder) / name for name in ("recording", "small", "part.csv"))
            write(path, arguments.rows)
            write(small, arguments.rows // PEER_PART)
            numbers(small, write.__name__, part)
            assumptions = Assumptions(down_bit_s=100e6, up_bit_s=10e6)
            read_recording(small, assumptions)  # import modules before the measurement
            peer_s, _ = timed(partial(np.loadtxt, part, delimiter=","))
            ours_s, trace = timed(partial(read_recording, path, assumptions))
            size_mb = path.stat().st_size / 1e6
        assert isinstance(trace, Trace)
        late |= arguments.rows == ROWS and ours_s > WITHIN_S
        print(
            f"{write.__name__:5} {arguments.rows} rows, {size_mb:.0f} MB: {ours_s:.1f} s,"
            f" {arguments.rows / ours_s / 1e6:.2f} million rows/s,"
            f" {peer_s * PEER_PART / ours_s:.1f} times as fast as numpy.loadtxt; trace of {len(trace)} rows"
        )
    return 1 if late else 0


if __name__ == "__main__":
    sys.exit(main())
