"""What the kernel tells of this machine's network: sessions that must not be cut, and its addresses."""

from __future__ import annotations

import socket

import pytest

from testbed.boards.machine_network import facts
from testbed.boards.machine_network.changes import HostChanges
from testbed.errors import TestbedError


def test_sessions_at_the_port_of_ssh_are_found_and_no_others() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as ssh,
        socket.create_server(("127.0.0.1", 0)) as other,
        socket.create_connection(ssh.getsockname(), source_address=("127.0.0.2", 0)),
        socket.create_connection(other.getsockname(), source_address=("127.0.0.3", 0)),
    ):
        told = f"192.0.2.9 5000 192.0.2.1 {ssh.getsockname()[1]}"
        peers = facts.ssh_peers({"SSH_CONNECTION": told})
        assert peers["192.0.2.9"] == "192.0.2.1"
        assert peers["127.0.0.2"] == "127.0.0.1"
        assert "127.0.0.3" not in peers
        assert "127.0.0.2" not in facts.ssh_peers({})


def test_an_address_of_this_machine_is_no_way_to_a_board() -> None:
    assert facts.way_to("127.0.0.1") is None


def test_addresses_are_told_but_those_of_the_link_alone() -> None:
    assert "127.0.0.1/8" in facts.interfaces()["lo"].addresses
    assert facts._is_link_local("fe80::1/64")
    assert not any(map(facts._is_link_local, ("169.254.0.1/16", "2001:db8::1/64", "10.0.0.1/8")))


def test_the_name_of_an_interface_that_is_there_is_not_taken() -> None:
    class Journal:
        def __init__(self) -> None:
            self.written: list[dict[str, str]] = []

        def write(self, change: dict[str, str]) -> None:
            self.written.append(change)

    changes, journal = HostChanges.__new__(HostChanges), Journal()
    changes._journal = journal  # type: ignore[assignment]
    with pytest.raises(TestbedError, match=r"lo already exists.*spaceverse clean"):
        changes.will_add_link("lo", "02:00:00:00:00:01")
    assert journal.written == []
    changes.will_add_link("nowhere0", "02:00:00:00:00:01")
    assert journal.written == [{"kind": "link", "name": "nowhere0", "mac": "02:00:00:00:00:01"}]
