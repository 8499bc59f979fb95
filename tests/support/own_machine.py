"""A network namespace, /run, /sys and journal of its own for a test worker.

Tests that need root compare the machine's interfaces and namespaces before and after. With its own view of
them, a worker does not see what the tests of another worker make.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from pathlib import Path

from testbed.boards.machine_network.journal import DEFAULT_STATE

CLONE_NEWNS = 0x00020000
CLONE_NEWNET = 0x40000000
# /sys shows the namespace in which it was mounted; cgroups are mounted below it.
MOUNTS = """
mount --make-rprivate /
mkdir -p {state} && mount -t tmpfs none {state}
mount -t tmpfs none /run
mount -t sysfs none /sys
test -z "{cgroups}" || mount --rbind {cgroups} /sys/fs/cgroup
ip link set lo up
"""


def enter_own_machine() -> None:
    """Move this thread, and what it starts from now on, into namespaces of its own.

    Raises:
        OSError: The namespaces cannot be made, for example in a container without CAP_SYS_ADMIN.
        subprocess.CalledProcessError: A mount was refused.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    cgroups = os.open("/sys/fs/cgroup", os.O_PATH) if Path("/sys/fs/cgroup").is_dir() else None
    try:
        if libc.unshare(CLONE_NEWNS | CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "unshare")
        held = "" if cgroups is None else f"/proc/{os.getpid()}/fd/{cgroups}"
        subprocess.run(["sh", "-ec", MOUNTS.format(state=DEFAULT_STATE, cgroups=held)], check=True)
    finally:
        if cgroups is not None:
            os.close(cgroups)
