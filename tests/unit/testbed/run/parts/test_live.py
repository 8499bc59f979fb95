"""Where a run offers its live page is checked before anything is built."""

from __future__ import annotations

import socket

import pytest

from testbed.errors import InputError
from testbed.run.parts.live import LivePage

NOWHERE = "203.0.113.9"  # of a network for documentation, RFC 5737


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(InputError, match=rf"cannot listen at {NOWHERE}: .*; choose another --live-host$"):
        LivePage(NOWHERE).check()


@pytest.mark.parametrize("before", [0, 1])  # the page's port, and the broker's after it
def test_a_port_in_use_is_refused(before: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(InputError, match=rf"127\.0\.0\.1 port {port}: .*--live-host or --live-port$"):
            LivePage(port=port - before).check()


def test_the_last_port_has_none_after_it() -> None:
    with pytest.raises(InputError, match="port 65536: "):
        LivePage(port=65535).check()


def test_free_ports_are_accepted() -> None:
    LivePage().check()
