"""A node whose CLOCK_MONOTONIC is not the run's: `own_clock.py OFFSET_S DRIFT SOCKET`.

The offset is that of a time namespace. The kernel cannot emulate a drift, so `time.monotonic` of this process
is replaced before any code reads it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from pathlib import Path

CLONE_NEWTIME = 0x80


def enter_time_namespace(offset_s: float) -> None:
    """Continue as a child in a separate time namespace; the parent waits for its end. Needs root."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWTIME) != 0:
        raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWTIME)")
    whole_s, nanoseconds = divmod(round(offset_s * 1e9), 10**9)
    Path("/proc/self/timens_offsets").write_text(f"monotonic {whole_s} {nanoseconds}\n", encoding="ascii")
    child = os.fork()  # only children enter it
    if child:
        signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
        os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def load_a_model() -> None:
    """Occupy the interpreter for most of three seconds, as imports do; the clock's threads have to wait."""
    for _ in range(30):
        time.sleep(0.0005)
        ctypes.PyDLL(None).usleep(100_000)


def main() -> None:
    offset_s, drift, socket = float(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3])
    enter_time_namespace(offset_s)
    of_the_kernel = time.monotonic
    time.monotonic = lambda: of_the_kernel() * (1 + drift)

    from nodes.contract.config import BrokerAddress  # not before the clock drifts
    from nodes.contract.events import Captured
    from nodes.runtime.management import ManagementPlane

    plane = ManagementPlane(BrokerAddress(unix_socket=socket), "Board 1", clock="own")
    plane.report(Captured(frame="early", size_bytes=0))
    plane.open()
    load_a_model()
    number = 0
    while not plane.stopped.wait(0.25):
        number += 1
        plane.report(Captured(frame="tick", size_bytes=number))
        if plane.started.is_set() and number % 8 == 0 and plane.wait_until(2.0):
            plane.report(Captured(frame="two", size_bytes=number))
    plane.close()


if __name__ == "__main__":
    main()
