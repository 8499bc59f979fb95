"""The fast readings at the start of a contact agree with netlink."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from testbed.errors import LinkError
from testbed.kernel.interface_flags import IFF_UP
from testbed.kernel.namespace import NetworkNamespace
from tests.support.waiting import wait_for

pytestmark = pytest.mark.root


@pytest.fixture
def spaces() -> Iterator[tuple[NetworkNamespace, NetworkNamespace]]:
    """A sky with a port "p" of the bridge "br", and a host with its other end "h"; both are down."""
    with NetworkNamespace.create("sky") as sky, NetworkNamespace.create("host") as host:
        sky.add_bridge("br")
        sky.add_veth("p", peer_name="h", peer_path=host.path)
        sky.plug("p", "br")
        yield sky, host


def soon(condition: Callable[[], bool]) -> None:
    """Wait up to 2 s: the kernel notices a carrier in its own time."""
    wait_for(condition, "change of the port", 2, every_s=0.001)


def test_a_port_forwards_once_both_ends_are_up(spaces: tuple[NetworkNamespace, NetworkNamespace]) -> None:
    sky, host = spaces
    assert not sky.is_forwarding("p")
    assert not sky.is_forwarding("br")  # it is no port
    sky.set_up("p", True)
    assert not sky.read("p").forwarding
    assert not sky.is_forwarding("p")
    host.set_up("h", True)
    soon(lambda: sky.is_ready("p"))
    assert sky.is_forwarding("p")
    assert sky.read("p").forwarding
    sky.set_up("p", False)
    assert not sky.read("p").up
    assert not sky.is_forwarding("p")


def test_looking_into_another_namespace_ends_where_it_began(
    spaces: tuple[NetworkNamespace, NetworkNamespace],
) -> None:
    sky, host = spaces
    assert sky.look_into(host.path, "h") == (False, False)
    host.set_up("h", True)
    sky.set_up("p", True)
    soon(lambda: sky.look_into(host.path, "h") == (True, True))
    with pytest.raises(LinkError, match="cannot read interface p in"):
        sky.look_into(host.path, "p")
    assert "p" in sky.names()
    with pytest.raises(LinkError, match="cannot read interface"):
        sky.look_into("/proc/0/ns/net", "h")


def test_an_interface_that_is_not_there_is_named(
    spaces: tuple[NetworkNamespace, NetworkNamespace],
) -> None:
    sky, _ = spaces
    with pytest.raises(LinkError, match="cannot read interface gone in network namespace sky"):
        sky.set_up("gone", True)
    with pytest.raises(LinkError, match="no interface gone in network namespace sky"):
        sky.is_forwarding("gone")


def test_one_dump_tells_whether_each_interface_is_up(
    spaces: tuple[NetworkNamespace, NetworkNamespace],
) -> None:
    sky, host = spaces
    for number in range(60):  # more than one answer's worth
        sky.add_veth(f"x{number}", peer_name=f"y{number}", peer_path=host.path)
        sky.set_up(f"x{number}", number % 3 == 0)
    flags = sky.flags()
    assert set(flags) == set(sky.names())
    assert {name for name, its in flags.items() if its & IFF_UP} == {n for n in flags if sky.is_up(n)}
    assert not flags["x1"] & IFF_UP
    sky.set_up("x1", True)
    assert sky.flags()["x1"] & IFF_UP
    assert sky.is_forwarding("p") is False  # the same socket; nothing of the dump is left in it


def test_what_stays_is_in_every_dump_whatever_comes_and_goes(
    spaces: tuple[NetworkNamespace, NetworkNamespace],
) -> None:
    sky, host = spaces
    stays = [f"x{number}" for number in range(60)]
    for number, name in enumerate(stays):
        sky.add_veth(name, peer_name=f"y{number}", peer_path=host.path)
    enough = threading.Event()

    def come_and_go() -> None:
        with NetworkNamespace.enter(sky.path, "sky") as again:  # a thread of its own: beside the dumps
            while not enough.is_set():
                again.add_veth("comes", peer_name="and_goes", peer_path=host.path)
                again.delete("comes")

    busy = threading.Thread(target=come_and_go)
    busy.start()
    dumps: list[dict[str, int]] = []
    seen: set[bool] = set()  # whether "comes" was there
    give_up_s = time.monotonic() + 10
    try:
        while len(dumps) < 100 or (len(seen) < 2 and time.monotonic() < give_up_s):
            dumps.append(sky.flags())
            seen.add("comes" in dumps[-1])
    finally:
        enough.set()
        busy.join()
    assert all(set(stays) <= set(dump) for dump in dumps)
    assert len(seen) == 2, "nothing came or went: this proved nothing"
