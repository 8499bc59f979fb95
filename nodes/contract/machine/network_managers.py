"""Programs that may reconfigure a network interface in the middle of a run."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

# Names of processes as the kernel keeps them, 15 characters at most, and what they belong to.
MANAGERS = {
    "NetworkManager": "NetworkManager",
    "systemd-network": "systemd-networkd",
    "dhcpcd": "dhcpcd",
    "dhclient": "dhclient",
    "connmand": "ConnMan",
    "wickedd": "wicked",
}
CLOUD_AGENTS = {
    "cloud-init": "cloud-init",
    "google_guest_ag": "Google's guest agent",
    "amazon-ssm-agen": "Amazon's agent",
    "waagent": "Azure's agent",
}
# How each one is told to leave an interface alone; {} stands for it.
LEAVE_ALONE = {
    "NetworkManager": "nmcli device set {} managed no",
    "systemd-networkd": "a file in /etc/systemd/network with [Match] Name={} and [Link] Unmanaged=yes",
    "dhcpcd": "a line `denyinterfaces {}` in /etc/dhcpcd.conf",
}
ROOT = Path("/")
# What these two keep of each interface, by its index.
_STATES = {
    "NetworkManager": ("run/NetworkManager/devices", r"^managed=(false|0)\s*$"),
    "systemd-networkd": ("run/systemd/netif/links", r"^ADMIN_STATE=unmanaged\s*$"),
}


def network_managers(root: Path = ROOT) -> list[str]:
    """Return the network managers and cloud agents that run on this machine.

    Args:
        root: where /proc is found.
    """
    known = MANAGERS | CLOUD_AGENTS
    return sorted({known[name] for name in _processes(root) if name in known})


def managers_of(interface: str, root: Path = ROOT) -> list[str]:
    """Return those of `network_managers` that do not say that they leave an interface alone.

    Args:
        interface: name of the interface.
        root: where /proc, /run and /sys are found.
    """
    return [name for name in network_managers(root) if not _leaves_alone(name, interface, root)]


def how_to_leave_alone(managers: Iterable[str], interface: str) -> str:
    """Return how managers are told to leave an interface alone."""
    ways = [LEAVE_ALONE[name].format(interface) for name in managers if name in LEAVE_ALONE]
    return "; ".join(ways) or "configure it to leave this interface alone"


def _leaves_alone(manager: str, interface: str, root: Path) -> bool:
    if manager not in _STATES:
        return False
    folder, unmanaged = _STATES[manager]
    try:
        index = (root / "sys/class/net" / interface / "ifindex").read_text(encoding="ascii").strip()
        text = (root / folder / index).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return (root / folder).is_dir()  # it knows others, and not this one
    return re.search(unmanaged, text, re.MULTILINE) is not None


def _processes(root: Path) -> set[str]:
    """Return the names of all processes, and of the scripts that interpreters run."""
    names = set()
    for folder in (root / "proc").glob("[0-9]*"):
        try:
            names.add((folder / "comm").read_text(encoding="utf-8", errors="replace").strip())
            words = (folder / "cmdline").read_bytes().split(b"\0")[:2]
        except OSError:  # it has ended
            continue
        program, script = [*(word.decode(errors="replace") for word in words), "", ""][:2]
        names.update(Path(path).name for path in (program, script) if path.startswith("/"))
    return names
