"""What another program changes at the ends of a link is noticed and set again."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from nodes.contract.board import RESTARTS_MAX
from testbed.errors import LinkError
from testbed.network import end_watch
from testbed.network.emulation import EmulatedNetwork
from testbed.network.end_watch import EndWatch
from tests.support.network.pair import GROUND, SATELLITE, Pair, state

pytestmark = pytest.mark.root


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    monkeypatch.setattr(end_watch, "EVERY_S", 0.0)
    with EmulatedNetwork("nfqueue") as network:
        made = Pair(network)
        network.start()
        made.link.set(state(), state())
        yield made


def ip(node: Any, *words: str) -> None:
    subprocess.run(["mnexec", "-a", str(node.pid), "ip", *words], check=True)


def test_a_removed_address_is_set_again_and_packets_pass(pair: Pair) -> None:
    watch, name = EndWatch([pair.link]), pair.link.intf2.name
    assert watch.look() == []
    ip(pair.ground, "addr", "flush", "dev", name)
    change = f"the address {GROUND} of its interface {name} was removed"
    assert watch.look() == [(pair.link.name, 1, change)]
    assert watch.look() == []
    assert len(pair.rtts_ms(1)) == 1


def test_an_interface_that_was_taken_down_is_set_up_again(pair: Pair) -> None:
    watch, name = EndWatch([pair.link]), pair.link.intf1.name
    ip(pair.satellite, "link", "set", name, "down")
    assert watch.look() == [(pair.link.name, 0, f"its interface {name} was taken down")]
    assert watch.look() == []
    known, _, _ = pair.satellite.pexec("ip", "neigh", "show", GROUND)
    assert "PERMANENT" in known, "a radio link has no ARP"
    assert len(pair.rtts_ms(1)) == 1


def test_an_end_that_is_changed_again_and_again_is_an_error_with_its_name(pair: Pair) -> None:
    watch, name = EndWatch([pair.link]), pair.link.intf1.name
    for _ in range(RESTARTS_MAX):
        ip(pair.satellite, "addr", "flush", "dev", name)
        assert len(watch.look()) == 1
    ip(pair.satellite, "addr", "flush", "dev", name)
    with pytest.raises(
        LinkError, match=f"the address {SATELLITE} of its interface {name} was removed by another"
    ):
        watch.look()


def test_a_link_that_has_vanished_is_left_to_the_sky(pair: Pair) -> None:
    watch = EndWatch([pair.link])
    ip(pair.satellite, "link", "del", pair.link.intf1.name)
    assert watch.look() == []
