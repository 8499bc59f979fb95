"""Programs that may reconfigure an interface, on a machine made of files."""

from __future__ import annotations

from pathlib import Path

import pytest

from nodes.contract.machine.network_managers import how_to_leave_alone, managers_of, network_managers


def machine(root: Path, *commands: str) -> Path:
    """A machine with eth1 (index 7) on which commands run."""
    for number, command in enumerate(commands, start=100):
        folder = root / "proc" / str(number)
        folder.mkdir(parents=True)
        words = command.split()
        (folder / "comm").write_text(Path(words[0]).name[:15] + "\n")
        (folder / "cmdline").write_bytes(b"\0".join(word.encode() for word in words) + b"\0")
    (root / "proc/self").mkdir(parents=True)
    (root / "sys/class/net/eth1").mkdir(parents=True)
    (root / "sys/class/net/eth1/ifindex").write_text("7\n")
    return root


def test_managers_are_known_by_their_processes(tmp_path: Path) -> None:
    root = machine(
        tmp_path,
        "/usr/sbin/NetworkManager --no-daemon",
        "/usr/lib/systemd/systemd-networkd",
        "/usr/bin/google_guest_agent",
        "/usr/bin/python3 /usr/sbin/waagent -daemon",
        "/usr/sbin/dhcpcd",
        "/usr/bin/bash dhcpcd.sh",
    )
    expected = ["Azure's agent", "Google's guest agent", "NetworkManager", "dhcpcd", "systemd-networkd"]
    assert network_managers(root) == managers_of("eth1", root) == expected


@pytest.mark.parametrize(
    ("command", "state", "text", "leaves"),
    [
        ("NetworkManager", "run/NetworkManager/devices", "[device]\nmanaged=false\n", True),
        ("NetworkManager", "run/NetworkManager/devices", "[device]\nmanaged=true\n", False),
        ("systemd-networkd", "run/systemd/netif/links", "ADMIN_STATE=unmanaged\n", True),
        ("systemd-networkd", "run/systemd/netif/links", "ADMIN_STATE=configured\n", False),
    ],
)
def test_one_that_leaves_an_interface_alone_is_not_named(
    tmp_path: Path, command: str, state: str, text: str, leaves: bool
) -> None:
    root = machine(tmp_path, f"/usr/sbin/{command}")
    (root / state).mkdir(parents=True)
    (root / state / "7").write_text(text)
    assert managers_of("eth2", root) == []  # it does not know that one
    assert managers_of("eth1", root) == ([] if leaves else [command])
    assert network_managers(root) == [command]


def test_the_way_to_stop_them_names_the_interface() -> None:
    assert how_to_leave_alone(["dhcpcd", "NetworkManager"], "eth1") == (
        "a line `denyinterfaces eth1` in /etc/dhcpcd.conf; nmcli device set eth1 managed no"
    )
    assert how_to_leave_alone(["cloud-init"], "eth1") == "configure it to leave this interface alone"
