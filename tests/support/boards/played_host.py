"""A network namespace in the role of the host, with a NIC and the complete visible state of its network."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from testbed.kernel.namespace import NetworkNamespace
from tests.support import ROOT

NIC, BOARD_NIC = "nic0", "eth0"
HOST_ADDRESS, BOARD_ADDRESS = "192.0.2.1", "192.0.2.2"  # on the management plane
SHOWN = (
    "ip -j -d addr",
    "ip -j -d link",
    "ip -j route show table all",
    "ip -j -6 route show table all",
    "ip -j rule",
    "ip -j -6 rule",
    "tc -j qdisc",
    "sh -c 'for n in $(ls /sys/class/net); do ethtool -k $n; done'",
    "sh -c 'cd /proc/sys/net/ipv4; grep -r . conf ip_forward'",
)


@contextmanager
def played_host(*, settled: bool = True) -> Iterator[tuple[NetworkNamespace, NetworkNamespace]]:
    """Yield (host, board); a cable connects the host's NIC `nic0` and the board's `eth0`.

    Without `settled`, the kernel may still add routes or addresses by itself, which saves a second.
    """
    with NetworkNamespace.create("host") as host, NetworkNamespace.create("board") as board:
        for space in (host, board):
            space.write_sysctl("ipv6/conf/default/accept_dad", "0")
            space.set_up("lo", True)
        # Numbered as no interface of the board: see testbed.kernel.namespace.FIRST_PORT_INDEX.
        host.add_veth(NIC, peer_name=BOARD_NIC, peer_path=board.path, index=100)
        board.set_up(BOARD_NIC, True)
        host.set_up(NIC, True)
        if settled:
            settle(host)
        yield host, board


@contextmanager
def management(host: NetworkNamespace, board: NetworkNamespace) -> Iterator[None]:
    """Add a second cable between the two, with an open ssh port at the board's end."""
    host.add_veth("mgmt0", peer_name="wlan0", peer_path=board.path, index=101)
    for space, name, address in ((host, "mgmt0", HOST_ADDRESS), (board, "wlan0", BOARD_ADDRESS)):
        space.set_up(name, True)
        space.add_address(name, address, 24)
    with board.call(lambda: socket.create_server(("", 22))):
        yield


def settle(space: NetworkNamespace) -> None:
    """Wait until the kernel adds nothing more by itself."""
    before, same = "", 0
    while same < 3:
        now = look(space)
        same = same + 1 if now == before else 0
        before = now
        time.sleep(0.1)


def look(space: NetworkNamespace) -> str:
    """Return everything that tools show of a namespace's network, except the running timers of bridges."""
    script = "mount -t sysfs sys /sys && " + " && ".join(SHOWN)
    done = space.run(["unshare", "--mount", "--propagation", "private", "sh", "-c", script])
    assert done.returncode == 0, done.stderr
    return re.sub(r'"\w+_timer":\s*[0-9.]+', "", done.stdout)


def look_until(space: NetworkNamespace, wanted: str, patience_s: float = 10.0) -> str:
    """Repeat `look` until it is as wanted: the kernel removes dead namespaces with a delay."""
    until_s = time.monotonic() + patience_s
    while (now := look(space)) != wanted and time.monotonic() < until_s:
        time.sleep(0.05)
    return now


def command(space: NetworkNamespace, arguments: str, state: Path) -> subprocess.CompletedProcess[str]:
    """Run `spaceverse ARGUMENTS` on the played host."""
    program = [sys.executable, "-m", "testbed.cli.main", *shlex.split(arguments)]
    environment = {"SPACEVERSE_STATE": str(state), "PYTHONPATH": str(ROOT)}
    return space.run(["env", *(f"{k}={v}" for k, v in environment.items()), *on_its_sysfs(program)])


def on_its_sysfs(program: list[str]) -> list[str]:
    """Wrap a command so that /sys shows the interfaces of the namespace, as on a real host."""
    script = 'mount -t sysfs sys /sys && exec "$@"'
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", *program]


def kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL, and wait."""
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
