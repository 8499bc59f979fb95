"""Two real hosts, the link between them, and packets through the link."""

from __future__ import annotations

import re
import select
import socket
import struct
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from testbed.kernel.namespace import NetworkNamespace
from testbed.network.emulation import EmulatedNetwork
from testbed.network.link_state import LinkState
from testbed.network.shapers.nfqueue.process import EARLY_MOST_S
from testbed.network.shapers.nfqueue.shaper import NfqueueShaper

EARLY_MS = 2e3 * EARLY_MOST_S
"""How much shorter than asked a round trip may be: the shaper releases packets early, in each direction."""
SATELLITE, GROUND = "10.77.0.1", "10.77.0.2"
SATELLITE6, GROUND6 = "fd00:77::1", "fd00:77::2"


def state(rate_bit_s: float = 100e6, delay_s: float = 0.0, **more: Any) -> LinkState:
    return LinkState(True, rate_bit_s, delay_s, **more)


class Pair:
    """A satellite and a ground station under a sky with the nfqueue shaper."""

    def __init__(self, network: EmulatedNetwork, number: int = 0, **options: Any) -> None:
        self.sky, self.network = network.sky, network
        satellite, ground = f"s{number}", f"g{number}"
        hosts = [network.add_host(name, node_name=name) for name in (satellite, ground)]
        self.satellite, self.ground = (host.node for host in hosts)
        self.link = network.add_link(
            satellite,
            ground,
            addresses=(f"{SATELLITE}/24", f"{GROUND}/24"),
            addresses6=(f"{SATELLITE6}/64", f"{GROUND6}/64"),
            **options,
        )

    @property
    def shaper(self) -> NfqueueShaper:
        assert isinstance(self.sky.shaper, NfqueueShaper)
        return self.sky.shaper

    def socket(self, node: Any, kind: socket.SocketKind, family: int = socket.AF_INET) -> socket.socket:
        """Return a socket of this process inside a host."""
        with NetworkNamespace.enter(f"/proc/{node.pid}/ns/net") as space:
            return space.call(lambda: socket.socket(family, kind))

    def rtts_ms(self, count: int, *options: str, to: str = GROUND) -> list[float]:
        out, _, _ = self.satellite.pexec("ping", "-c", str(count), "-W", "1", *options, to)
        return [float(found) for found in re.findall(r"time=([\d.]+) ms", out)]


class Stream:
    """Stream of numbered UDP packets from the satellite to the ground station, or upwards."""

    def __init__(self, pair: Pair, size_bytes: int = 100, *, upwards: bool = False) -> None:
        source, target, address = pair.satellite, pair.ground, GROUND
        if upwards:
            source, target, address = target, source, SATELLITE
        self._padding = bytes(size_bytes - 8)
        self._receiver = pair.socket(target, socket.SOCK_DGRAM)
        self._receiver.bind((address, 5000))
        self._receiver.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)  # SO_RCVBUFFORCE
        self._receiver.setblocking(False)
        self._sender = pair.socket(source, socket.SOCK_DGRAM)
        self._sender.connect((address, 5000))
        self.sent = 0

    def send(self, count: int = 1, every_s: float = 0.0) -> None:
        for _ in range(count):
            with suppress(OSError):  # without a carrier the host itself may refuse
                self._sender.send(struct.pack(">Q", self.sent) + self._padding)
            self.sent += 1
            if every_s:
                time.sleep(every_s)

    def received(self, for_s: float = 0.0) -> list[int]:
        """Return the numbers of received packets; stop after `for_s` without a packet."""
        numbers = []
        while True:
            try:
                numbers.append(struct.unpack_from(">Q", self._receiver.recv(1 << 16))[0])
            except BlockingIOError:
                if not select.select([self._receiver], [], [], for_s)[0]:
                    return numbers

    def close(self) -> None:
        self._receiver.close()
        self._sender.close()


def namespace_of(pid: int | str) -> str:
    return str(Path(f"/proc/{pid}/ns/net").readlink())
