"""How long a day of probes every 10 ms (8.64 million rows) takes to load: python benchmarks/recordings.py."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from traces.recordings import Assumptions, read_recording

ROWS = 8_640_000
START_NS = 1705744800616897349


def irtt(path: Path) -> None:
    """Write LENS' IRTT CSV."""
    with path.open("wb") as out:
        out.write(b"timestamp,rtt,uplink,downlink\n")
        out.writelines(
            b"%d,120.126123,72.4%05d,47.%05d\n" % (START_NS + n * 10_000_000, n % 99_991, n % 70_000)
            for n in range(ROWS)
        )


def ping(path: Path) -> None:
    """Write what `ping -D` prints."""
    line = b"[%d.%06d] 64 bytes from 100.64.0.1: icmp_seq=%d ttl=63 time=60.%d ms\n"
    with path.open("wb") as out:
        out.writelines(
            line % (1705744800 + n // 100, n % 100 * 10_000, n % 65536, n % 10) for n in range(ROWS)
        )


def main() -> None:
    """Print one line per format."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recording"
        for write in (irtt, ping):
            write(path)
            began_s, began_cpu_s = time.perf_counter(), time.process_time()
            trace = read_recording(path, Assumptions(down_bit_s=100e6, up_bit_s=10e6))
            took_s, took_cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
            size_mb = path.stat().st_size / 1e6
            print(
                f"{write.__name__}: {ROWS} rows, {size_mb:.0f} MB: {took_s:.1f} s"
                f" ({took_cpu_s:.1f} s of processor time), trace of {len(trace)} rows"
            )


if __name__ == "__main__":
    main()
