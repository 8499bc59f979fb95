"""A network namespace, /run, /sys and journal of its own for a test worker.

Tests that need root compare the machine's interfaces and namespaces before and after. With its own view of
them, a worker does not see what the tests of another worker make.
"""

from __future__ import annotations

import ctypes
import subprocess

from testbed.boards.machine_network.journal import DEFAULT_STATE

CLONE_NEWNS = 0x00020000
CLONE_NEWNET = 0x40000000
# /sys shows the namespace in which it was mounted; the control groups, mounted below it, are the machine's.
MOUNTS = """
mount --make-rprivate /
mkdir -p {state} && mount -t tmpfs none {state}
mount -t tmpfs none /run
mkdir /run/cgroup
test ! -d /sys/fs/cgroup || mount --rbind /sys/fs/cgroup /run/cgroup
mount -t sysfs none /sys
test ! -d /sys/fs/cgroup || mount --move /run/cgroup /sys/fs/cgroup
rmdir /run/cgroup
ip link set lo up
"""


def enter_own_machine() -> None:
    """Move this thread, and what it starts from now on, into namespaces of its own.

    Raises:
        OSError: The namespaces cannot be made, for example in a container without CAP_SYS_ADMIN.
        subprocess.CalledProcessError: A mount was refused.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS | CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    subprocess.run(["sh", "-ec", MOUNTS.format(state=DEFAULT_STATE)], check=True)
