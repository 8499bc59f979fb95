"""Hosts without a shell until it is used, and links that go together."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from testbed.kernel.errors import LinkError
from testbed.kernel.namespace import NetworkNamespace
from testbed.network.emulation import EmulatedNetwork
from tests.support.child_processes import children_of

pytestmark = pytest.mark.root


def test_a_host_has_no_process_until_one_is_needed() -> None:
    with EmulatedNetwork("nfqueue") as network:
        before = children_of(os.getpid())
        host = network.add_host("s")
        other = network.add_host("g")
        network.add_link("s", "g", addresses=("10.0.0.1/24", "10.0.0.2/24"))
        network.start()
        assert children_of(os.getpid()) == before
        assert host.run("ls /sys/class/net").stdout.split() == ["h0-eth0", "lo"], "its own /sys"
        assert host.node.cmd("cat /sys/class/net/lo/flags").strip() == "0x9", "up"
        assert host.pid == host.node.pid and Path(f"/proc/{other.pid}").exists()
        with NetworkNamespace.enter(f"/proc/{host.pid}/ns/net") as space:
            assert sorted(space.names()) == ["h0-eth0", "lo"]
    assert set(children_of(os.getpid())) <= set(before) and host.node.shell is None


def test_links_that_go_together_leave_no_interface_in_hosts_or_shaper() -> None:
    with EmulatedNetwork("nfqueue") as network:
        hosts = [network.add_host(name) for name in ("s", "g")]
        for number, end in enumerate(("purge", "hold")):
            addresses = (f"10.0.{number}.1/24", f"10.0.{number}.2/24")
            network.add_link("s", "g", name=f"link {end}", addresses=addresses, on_contact_end=end)
        network.start()
        ports = set(network.sky.namespace.names())
        network.sky.remove_links()
        assert [host.run("ls /sys/class/net").stdout.split() for host in hosts] == [["lo"], ["lo"]]
        left = set(network.sky.namespace.names()) - {"lo"}
        assert left < ports and all(name.startswith("b") for name in left), "bridges only"
        assert network.sky.links == {} == network.sky.counters()["links"]


def test_an_unknown_interface_is_named() -> None:
    with NetworkNamespace.create("here") as space:
        for action in (space.disable_super_packets, space.super_packet_features, space.mac, space.addresses):
            with pytest.raises(LinkError, match="nowhere0"):
                action("nowhere0")
        space.delete("nowhere0")
        space.delete_group(77)
    with pytest.raises(LinkError, match="here is closed"):
        space.add_bridge("br0")
