"""Limits by control groups of version 2, in a guest: this machine may have version 1."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.errors import CapabilityError
from testbed.machine import control_group
from testbed.machine.control_group import ControlGroup, hierarchy

IN_GUEST = "User Mode Linux" in Path("/proc/cpuinfo").read_text()
pytestmark = pytest.mark.skipif(not IN_GUEST, reason="mounts control groups of version 2; run in a guest")
MOUNTED = Path("/sys/fs/cgroup")
SPIN_S = 2.0
SPINS = f"""
import time
begin_s, used_s = time.time(), time.process_time()
while time.time() - begin_s < {SPIN_S}: pass
print(time.process_time() - used_s)
"""
GROWS = "x = []\nwhile True: x.append(bytearray(1 << 20))"


@pytest.fixture
def version_2() -> Iterator[None]:
    subprocess.run(["mount", "-t", "cgroup2", "none", str(MOUNTED)], check=True)
    (MOUNTED / "cgroup.subtree_control").write_text("-cpu -memory")  # as a repeat of the test finds it
    yield
    subprocess.run(["umount", str(MOUNTED)], check=True)


def started(code: str, group: ControlGroup) -> subprocess.Popen[bytes]:
    """Start a program in the group."""
    command = group.entered_by([sys.executable, "-c", code])
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


@pytest.mark.usefixtures("version_2")
def test_programs_are_limited_by_groups_of_version_2() -> None:
    with pytest.raises(CapabilityError, match=r"no controller 'cpu'; allow it: echo \+cpu > "):
        ControlGroup(cores=0.5)
    (MOUNTED / "cgroup.subtree_control").write_text("+cpu +memory")
    assert {hierarchy(name).version for name in ("cpu", "memory")} == {2}
    group = ControlGroup(cores=0.25, memory_bytes=64 << 20)
    (folder,) = group.folders  # one for both
    try:
        out, _ = started(SPINS, group).communicate(timeout=30)
        assert 0.1 * SPIN_S < float(out) < 0.25 * SPIN_S * 1.3
        grown = started(GROWS, group)
        grown.communicate(timeout=60)
        assert grown.returncode == -signal.SIGKILL
        stays = started("import time; print('joined', flush=True); time.sleep(1000)", group)
        assert stays.stdout is not None and stays.stdout.readline() == b"joined\n"
    finally:
        group.close()
    assert stays.wait(5) == -signal.SIGKILL and not folder.exists()
    assert control_group.left_behind() == []
