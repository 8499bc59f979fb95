"""A line a - sky - b shaped by the kernel's netem, for tests that need a kernel with netem.

On a kernel without sch_netem these tests are skipped. tests/integration/test_netem_in_uml.py runs them in a
guest with netem, where a missing netem is a failure.
"""

import os
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from testbed.kernel.namespace import NetworkNamespace
from testbed.kernel.timestamps import arrival_ns, stamp_arrivals
from testbed.network.link_state import DOWN_STATE, Direction, LinkState
from testbed.network.shapers.base import LinkPorts
from testbed.network.shapers.netem.shaper import NetemShaper, netem_lack

HERE = Path(__file__).parent
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33
UDP_HEADERS_BYTES = 14 + 20 + 8


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    mine = [item for item in items if HERE in item.path.parents]
    lack = netem_lack() if mine else None
    for item in mine:
        item.add_marker(pytest.mark.netem)
        item.add_marker(pytest.mark.root)
        if lack is not None and "SPACEVERSE_NETEM_REQUIRED" not in os.environ:
            reason = f"{lack}; tests/integration/test_netem_in_uml.py runs this where it is"
            item.add_marker(pytest.mark.skip(reason=reason))


@dataclass
class Line:
    """Two hosts, and a sky between them with the two ports of one link."""

    a: NetworkNamespace
    b: NetworkNamespace
    sky: NetworkNamespace
    ports: LinkPorts
    shaper: NetemShaper
    sockets: list[socket.socket] = field(default_factory=list)

    def set(self, down: LinkState, up: LinkState | None = None) -> None:
        self.shaper.apply("line", Direction.DOWN, down)
        self.shaper.apply("line", Direction.UP, up or down)

    def carrier(self, up: bool) -> None:
        for port in (self.ports.satellite, self.ports.ground):
            self.sky.set_up(port, up)

    def udp_upwards(self) -> tuple[socket.socket, socket.socket]:
        """Return a sender and a receiver of the other direction; see `udp`."""
        self.sockets += (pair := udp_pair(self.b, self.a, "10.9.0.1"))
        return pair

    def udp(self) -> tuple[socket.socket, socket.socket]:
        """See udp_pair; closed after the test."""
        self.sockets += (pair := udp_pair(self.a, self.b, "10.9.0.2"))
        return pair

    def warm(self) -> None:
        """Open the link wide and let both ends learn each other's address, so that no ARP is measured."""
        self.carrier(True)
        self.set(LinkState(True, 1e9, 0.0))
        for _ in range(20):
            if self.a.run(["ping", "-c", "1", "-W", "1", "10.9.0.2"]).returncode == 0:
                return
        raise AssertionError("b does not answer over the open link")


def udp_pair(
    from_host: NetworkNamespace, to_host: NetworkNamespace, address: str
) -> tuple[socket.socket, socket.socket]:
    """A socket in one host that is connected to one in the other; that has the kernel's receive times."""
    sender, receiver = (
        host.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for host in (from_host, to_host)
    )
    stamp_arrivals(receiver)
    receiver.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 4_000_000)
    sender.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 4_000_000)
    receiver.bind((address, 0))
    sender.connect(receiver.getsockname())
    return sender, receiver


def numbered(number: int, frame_bytes: int) -> bytes:
    """UDP payload that starts with `number` and makes an Ethernet frame of `frame_bytes`."""
    return struct.pack("!I", number).ljust(frame_bytes - UDP_HEADERS_BYTES, b"\0")


def arrivals(receiver: socket.socket, quiet_s: float, most: int | None = None) -> list[tuple[int, float]]:
    """(number, CLOCK_REALTIME of arrival) until nothing came for `quiet_s`, or `most` have come."""
    receiver.settimeout(quiet_s)
    got: list[tuple[int, float]] = []
    while most is None or len(got) < most:
        try:
            data, ancillary, _, _ = receiver.recvmsg(2048, 64)
        except TimeoutError:
            break
        got.append((struct.unpack_from("!I", data)[0], arrival_ns(ancillary) / 1e9))
    return got


def paced(sender: socket.socket, count: int, interval_s: float, frame_bytes: int = 100) -> None:
    """Send `count` numbered packets on absolute deadlines."""
    start_s = time.monotonic()
    for number in range(count):
        time.sleep(max(0.0, start_s + number * interval_s - time.monotonic()))
        sender.send(numbered(number, frame_bytes))


@pytest.fixture(scope="module")
def wired() -> Iterator[Line]:
    with (
        NetworkNamespace.create("a") as a,
        NetworkNamespace.create("b") as b,
        NetworkNamespace.create("sky") as sky,
    ):
        for space in (a, b, sky):  # tests count packets, and only theirs may pass
            space.write_sysctl("ipv6/conf/default/disable_ipv6", "1")
        sky.add_bridge("br0")
        for port, host, address in (("p0", a, "10.9.0.1"), ("p1", b, "10.9.0.2")):
            sky.add_veth(port, peer_name="eth0", peer_path=host.path)
            sky.plug(port, "br0")
            sky.disable_super_packets(port)
            host.disable_super_packets("eth0")
            host.add_address("eth0", address, 24)
            host.set_up("eth0", True)
            host.set_up("lo", True)
        ports = LinkPorts("line", satellite="p0", ground="p1")
        shaper = NetemShaper(sky.path)
        try:
            shaper.attach(ports)
            yield Line(a, b, sky, ports, shaper)
        finally:
            shaper.close()


@pytest.fixture
def line(wired: Line) -> Iterator[Line]:
    """The line, open and warm; closed and purged after the test."""
    wired.warm()
    yield wired
    wired.set(DOWN_STATE)
    for one in wired.sockets:
        one.close()
    wired.sockets.clear()
