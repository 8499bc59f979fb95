"""A NIC that is in use is refused: losing it could lock somebody out of the machine."""

from __future__ import annotations

import pytest

from testbed.boards.check import attachability
from testbed.boards.machine_network import facts
from testbed.boards.machine_network.facts import Interface, Way


def nic(name: str = "eth0", *addresses: str, **changes: object) -> Interface:
    values: dict[str, object] = {
        "name": name, "index": 2, "kind": "", "up": True, "carrier": True, "mtu_bytes": 1500,
        "mac": "02:00:00:00:00:02", "master": None, "lower": None, "peers_elsewhere": False,
        "addresses": addresses, "xdp": False,
    }  # fmt: skip
    return Interface(**values | changes)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """No session, no route."""
    monkeypatch.setattr(facts, "ssh_peers", lambda environment: {})
    monkeypatch.setattr(facts, "way_to", lambda address: None)
    monkeypatch.setattr(facts, "default_route_interfaces", set)


def refused(one: Interface, *others: Interface) -> list[str]:
    there = {interface.name: interface for interface in (one, *others)}
    found = list(attachability._not_free(one, there, {}))
    assert all(finding.verdict == "refused" and finding.instead for finding in found)
    return [finding.detail for finding in found]


def test_a_nic_that_nobody_uses_is_free() -> None:
    assert refused(nic()) == []


def test_a_nic_with_the_address_of_a_session_is_refused_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = {"192.0.2.9": "10.0.0.1", "192.0.2.8": "10.0.0.1"}
    monkeypatch.setattr(facts, "ssh_peers", lambda environment: sessions)
    session, address = refused(nic("eth0", "10.0.0.1/24"))
    assert session == "eth0 carries an ssh session from 192.0.2.9"
    assert address == "eth0 has the address 10.0.0.1/24"
    assert refused(nic("eth1", "10.0.1.1/24")) == ["eth1 has the address 10.0.1.1/24"]


def test_a_nic_on_the_way_to_a_session_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "ssh_peers", lambda environment: {"192.0.2.9": "10.0.0.1"})
    monkeypatch.setattr(facts, "way_to", lambda address: Way("eth0", "10.0.0.1", 1500))
    assert refused(nic("eth0")) == ["eth0 carries an ssh session from 192.0.2.9"]
    assert refused(nic("eth1")) == []


def test_a_nic_of_the_default_route_a_bridge_or_a_vlan_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "default_route_interfaces", lambda: {"eth0"})
    assert refused(nic("eth0")) == ["eth0 carries the default route"]
    assert refused(nic("eth1", master="br0")) == ["eth1 is a port of br0"]
    above = [nic("eth1.7", lower="eth1"), nic("eth1.3", lower="eth1"), nic("eth2.1", lower="eth2")]
    assert refused(nic("eth1"), *above) == ["eth1 is the lower interface of eth1.3, eth1.7"]


def test_the_port_of_vxlan_has_to_be_free_unless_it_is_vxlans() -> None:
    with attachability.socket.socket(attachability.socket.AF_INET, attachability.socket.SOCK_DGRAM) as taken:
        taken.bind(("", 0))
        port = taken.getsockname()[1]
        (finding,) = attachability._udp_port(port, {})
        assert finding.verdict == "refused" and f"{port}: Address already in use" in finding.detail
        assert list(attachability._udp_port(port, {"vx": nic("vx", kind="vxlan")})) == []
    assert list(attachability._udp_port(port, {})) == []
