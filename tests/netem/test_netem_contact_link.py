"""The complete path of a run: Mininet hosts, ContactLink, Sky, NetemShaper and the kernel's netem."""

import json
import re
import statistics
import time
from collections.abc import Iterator
from typing import Any

import pytest
from mininet.node import Host

from testbed.errors import CapabilityError, LinkError
from testbed.kernel.namespace import NetworkNamespace
from testbed.network.contact_link import ContactLink
from testbed.network.link_state import DOWN_STATE, LinkState
from testbed.network.sky import Sky
from tests.support.starved import unless_starved

from .conftest import arrivals, numbered, udp_pair

DOWN = LinkState(True, 20e6, 0.004, queue_bytes=200_000)
UP = LinkState(True, 1e6, 0.006)


@pytest.fixture
def link() -> Iterator[ContactLink]:
    satellite, ground = Host("sat"), Host("gnd")
    try:
        with Sky("netem") as sky:
            addresses: dict[str, Any] = {"params1": {"ip": "10.8.0.1/24"}, "params2": {"ip": "10.8.0.2/24"}}
            yield ContactLink(satellite, ground, sky=sky, link_name="dove", **addresses)
    finally:
        satellite.terminate()
        ground.terminate()


def ping_ms(link: ContactLink, count: int) -> list[float]:
    out, _, _ = link.intf1.node.pexec("ping", "-c", str(count), "-i", "0.02", "-W", "1", "10.8.0.2")
    return [float(found) for found in re.findall(r"time=([\d.]+) ms", out)]


def near(link: ContactLink, rtt_ms: float) -> None:
    """See that a round trip takes that long, to 1 ms."""
    unless_starved(lambda: statistics.median(ping_ms(link, 30)[1:]), lambda found: abs(found - rtt_ms) < 1.0)


def test_a_contact_begins_changes_ends_and_comes_back(link: ContactLink) -> None:
    assert link.states() == (DOWN_STATE, DOWN_STATE)
    assert ping_ms(link, 1) == []
    link.set(DOWN, UP)
    held_down, held_up = link.states()
    assert (held_down.rate_bit_s, held_down.delay_s) == (20e6, 0.004)
    assert (held_up.rate_bit_s, held_up.delay_s) == (1e6, 0.006)
    # 98 bytes each way at 20 and 1 Mbit/s add 0.8 ms to twice 5 ms.
    near(link, 10 + 0.82)
    link.set(LinkState(True, 20e6, 0.015), LinkState(True, 20e6, 0.015))
    near(link, 30 + 0.08)
    link.set(DOWN_STATE, DOWN_STATE)
    assert ping_ms(link, 1) == []
    link.set(DOWN, UP)
    assert len(ping_ms(link, 5)) >= 4


def test_what_a_contact_left_in_the_sky_never_arrives(link: ContactLink) -> None:
    state = LinkState(True, 1e6, 0.3)
    link.set(LinkState(True, 1e9, 0.0), LinkState(True, 1e9, 0.0))
    assert len(ping_ms(link, 2)) == 2  # both ends know each other's address from here on
    spaces = [NetworkNamespace.enter(f"/proc/{end.node.pid}/ns/net") for end in (link.intf1, link.intf2)]
    sender, receiver = udp_pair(*spaces, "10.8.0.2")
    try:
        link.set(state, state)
        for number in range(50):
            sender.send(numbered(number, 1514))
        time.sleep(0.2)
        link.set(DOWN_STATE, DOWN_STATE)
        ended_s = time.clock_gettime(time.CLOCK_REALTIME)
        link.set(state, state)
        got = arrivals(receiver, 0.8)
        assert len(got) <= 20, "the contact ended so late that too little was left to purge"
        assert [number for number, arrived_s in got if arrived_s > ended_s] == []
        sender.send(numbered(99, 100))
        assert [number for number, _ in arrivals(receiver, 1.0, 1)] == [99]
    finally:
        for one in (sender, receiver, *spaces):
            one.close()


def test_a_netem_that_is_taken_away_takes_its_link_down(link: ContactLink) -> None:
    link.set(DOWN, UP)
    sky = link.sky_link.sky
    port = link.sky_link.ports.satellite
    assert sky.namespace.run(["tc", "qdisc", "del", "dev", port, "root"]).returncode == 0
    give_up_s = time.monotonic() + 5
    while link.sky_link.carrier():
        assert time.monotonic() < give_up_s
        time.sleep(0.05)
    for check in (sky.check, link.check):
        with pytest.raises(LinkError, match=f"dove up: netem on {port} was changed from outside"):
            check()


def test_holding_is_refused_when_the_link_is_made(link: ContactLink) -> None:
    with pytest.raises(CapabilityError, match="dove2: the netem shaper cannot hold"):
        ContactLink(
            link.intf1.node, link.intf2.node, sky=link.sky_link.sky, link_name="dove2", on_contact_end="hold"
        )
    assert link.sky_link.sky.links.keys() == {"dove"}


def test_counters_of_a_sky_are_json(link: ContactLink) -> None:
    link.set(DOWN, UP)
    assert len(ping_ms(link, 3)) == 3
    counted = json.loads(json.dumps(link.sky_link.sky.counters()))
    assert counted["shaper"] == "netem"
    assert counted["links"]["dove"]["down"]["delivered"] >= 3
