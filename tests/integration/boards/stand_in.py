"""A board to test with: a machine with a kernel, a clock and two NICs of its own, in User-Mode Linux.

Its root is this machine's file system. `tap0` of the given namespace is the cable of its `vec0`, the link;
`tap1` that of its `vec1`, for management.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from testbed.kernel import NetworkNamespace
from tests.integration.boards.played_host import ROOT

LINK, MANAGEMENT = "10.201.1.1", "192.0.2.2"
HOST_MANAGEMENT = "192.0.2.1"
MEMORY_MIB = 1024

# Set 3.7 s off, and 100 ppm fast: MOD_FREQUENCY of adjtimex(2), in 2^-16 ppm, at the start of struct timex.
BOARD = """
set -e
ip addr add {link}/30 dev vec0; ip link set vec0 up
ip addr add {management}/24 dev vec1; ip link set vec1 up
{python} - <<END
import ctypes, struct, time
time.clock_settime(time.CLOCK_REALTIME, time.time() + 3.7)
timex = bytearray(struct.pack("IxxxxQQ", 2, 0, 100 << 16) + bytes(256))
assert ctypes.CDLL(None).adjtimex((ctypes.c_char * len(timex)).from_buffer(timex)) >= 0
END
{python} -m http.server --bind {management} 22 > /dev/null 2>&1 &
while [ ! -s {config} ]; do sleep 0.1; done
exec {python} -m nodes.agent {config}
"""


@contextmanager
def stand_in(host: NetworkNamespace, agent_config: Path, writable: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A running board on two taps that are made in `host`; yields the process that is its machine."""
    for tap in ("tap0", "tap1"):
        assert host.run(["ip", "tuntap", "add", "dev", tap, "mode", "tap"]).returncode == 0
    host.add_address("tap1", HOST_MANAGEMENT, 24)
    for tap in ("tap0", "tap1"):
        host.set_up(tap, True)
    script = BOARD.format(link=LINK, management=MANAGEMENT, python=sys.executable, config=agent_config)
    command = [sys.executable, "-m", "testbed.uml", "--memory-mib", str(MEMORY_MIB), "--timeout", "300"]
    command += ["--real-time", "--tap", "tap0", "--tap", "tap1", "--writable", str(writable)]
    log = (writable / "board.log").open("wb")
    board = host.popen([*command, "--", "sh", "-c", script], cwd=ROOT, stdout=log, stderr=log)
    try:
        yield board
    finally:
        board.terminate()
        board.wait()
        log.close()
