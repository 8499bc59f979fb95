"""A NIC of a virtual machine is told: its hypervisor may drop the frames of a link."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.boards.check import attachability


def driven_by(sysfs: Path, driver: str, interface: str = "eth1") -> Path:
    """Make /sys as the kernel does: the driver is a link beside the interface's device."""
    there = sysfs / "bus/drivers" / driver
    device = sysfs / "class/net" / interface / "device"
    there.mkdir(parents=True)
    device.mkdir(parents=True)
    (device / "driver").symlink_to(there)
    return sysfs


@pytest.mark.parametrize(("driver", "whose"), [("virtio_net", "virtio"), ("vmxnet3", "VMware")])
def test_a_virtual_nic_is_warned_of(driver: str, whose: str, tmp_path: Path) -> None:
    (finding,) = attachability._virtual("eth1", driven_by(tmp_path, driver))
    assert finding.verdict == "note"
    assert whose in finding.detail
    assert "may drop frames" in finding.detail and "promiscuous mode" in finding.detail


def test_a_physical_or_unknown_nic_is_not(tmp_path: Path) -> None:
    assert not list(attachability._virtual("eth1", driven_by(tmp_path, "igb")))
    assert not list(attachability._virtual("veth0", tmp_path))
