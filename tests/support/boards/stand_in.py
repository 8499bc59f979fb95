"""A board to test with: a machine with a kernel, a clock and two NICs of its own, in User-Mode Linux.

Its root is this machine's file system, its /opt a folder that stays when it is halted. `tap0` of the given
namespace is the cable of its `vec0`, the link; `tap1` that of its `vec1`, for management, where a real sshd
listens. Its agent is started again whenever it ends, as the unit of `spaceverse board deploy` has it.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from testbed.kernel.namespace import NetworkNamespace
from tests.support.boards.played_host import ROOT
from tests.support.boards.sshd import prepare_sshd
from tests.support.waiting import wait_for

LINK, MANAGEMENT = "10.201.1.1", "192.0.2.2"
HOST_MANAGEMENT = "192.0.2.1"
TAPS = ("tap0", "tap1")
MEMORY_MIB = 1024
UP_WITHIN_S = 60.0

# Set 3.7 s off, and 100 ppm fast: MOD_FREQUENCY of adjtimex(2), in 2^-16 ppm, at the start of struct timex.
BOARD = """
set -e
ip addr add {link}/30 dev vec0; ip link set vec0 up
ip addr add {management}/24 dev vec1; ip link set vec1 up
mount --bind {folder}/opt /opt; mount -t tmpfs none /var/tmp
{python} - <<END
import ctypes, struct, time
time.clock_settime(time.CLOCK_REALTIME, time.time() + 3.7)
timex = bytearray(struct.pack("IxxxxQQ", 2, 0, 100 << 16) + bytes(256))
assert ctypes.CDLL(None).adjtimex((ctypes.c_char * len(timex)).from_buffer(timex)) >= 0
END
"""
# Its agent from this checkout, started again whenever it ends.
OF_THE_CHECKOUT = """
{sshd} &
while [ ! -s {folder}/agent.json ]; do sleep 0.1; done
while :; do
    /opt/spaceverse/venv/bin/python -m nodes.agent {folder}/agent.json &
    echo $! > /run/agent.pid
    wait $! || true
    sleep 1
done
"""
PYTHON = f"""#!/bin/sh
cd {ROOT} && exec {sys.executable} "$@"
"""
# A real systemd with nothing to do but its journal, its ssh server, and what is put into /etc/systemd, which
# stays. The journal is lost when it is halted.
UNDER_SYSTEMD = """
mount -t cgroup2 none /sys/fs/cgroup
mount --bind {folder}/systemd /etc/systemd
mkdir /run/units; cp /usr/lib/systemd/system/systemd-journald* /run/units
mount --bind /run/units /usr/lib/systemd/system
mount -t tmpfs none /usr/lib/systemd/system-generators  # they would start this machine's own services
mount -t tmpfs none /var/lib
cd /usr/lib/systemd/system
for target in sysinit basic network-online shutdown; do echo [Unit] > $target.target; done
printf '[Unit]\\nWants=systemd-journald.service sshd.service\\n' > multi-user.target
printf '[Service]\\nExecStart=%s\\n' {folder}/sshd > sshd.service
exec unshare --pid --fork --mount-proc --kill-child env container=uml \\
    /usr/lib/systemd/systemd --unit=multi-user.target
"""


class StandIn:
    """The machine, switched on and off; make one with `stand_in`.

    Args:
        host: where its cables end.
        folder: its own, which it can write to: /opt, logs, what its agent keeps.
        real_time: whether it goes before ordinary programs, as a machine of its own would. For what measures.
        bare: it has systemd, and nothing of ours yet. Otherwise it is as after step 5 of the README, its
            agent being this checkout's.

    Attributes:
        access: what opens its ssh server.
    """

    def __init__(self, host: NetworkNamespace, folder: Path, *, real_time: bool, bare: bool) -> None:
        self._host, self.folder, self._real_time, self._bare = host, folder, real_time, bare
        self.access = prepare_sshd(folder, MANAGEMENT, 22)
        self.log = folder / "board.log"
        self._process: subprocess.Popen[bytes] | None = None

    def switch_on(self, *, lasts_s: float = 600.0) -> None:
        """Boot; returns at once. Its agent starts when there is an `agent.json` in its folder."""
        script = (BOARD + (UNDER_SYSTEMD if self._bare else OF_THE_CHECKOUT)).format(
            link=LINK,
            management=MANAGEMENT,
            python=sys.executable,
            folder=self.folder,
            sshd=shlex.join(self.access.command),
        )
        command = [sys.executable, "-m", "testbed.machine.uml", "--memory-mib", str(MEMORY_MIB)]
        command += ["--timeout", f"{lasts_s:g}", "--writable", str(self.folder)]
        command += ["--real-time"] if self._real_time else []
        command += [part for tap in TAPS for part in ("--tap", tap)]
        with self.log.open("ab") as log:
            self._process = self._host.popen(
                [*command, "--", "sh", "-c", script], cwd=ROOT, stdout=log, stderr=log
            )
        for (
            tap
        ) in TAPS:  # no cable carries larger frames than its MTU; the guest asks for them, and drops most
            wait_for(lambda tap=tap: self._host.read(tap).carrier, "a machine at its cables")  # type: ignore[misc]
            self._host.disable_super_packets(tap)

    def halt(self) -> None:
        """The machine itself, not its programs: it says no word more."""
        assert self._process is not None
        pid = self._process.pid
        (machine,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        os.killpg(int(machine), signal.SIGKILL)
        self._process.wait()
        self._process = None

    def switch_off(self) -> None:
        """End it, if it is on."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def shell(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run something on it, over ssh."""
        options = ["-i", str(self.access.identity), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes"]
        options += ["-o", f"UserKnownHostsFile={self.access.known_hosts}", "-o", "ConnectTimeout=5"]
        return self._host.run(["ssh", *options, f"root@{MANAGEMENT}", command])

    def wait_until_up(self) -> None:
        """Until somebody can log in."""
        wait_for(lambda: self.shell("true").returncode == 0, "a board that lets one in", UP_WITHIN_S)

    def kill_agent(self) -> bool:
        """SIGKILL; False where it was just being started again."""
        return self.shell("kill -9 $(cat /run/agent.pid)").returncode == 0


@contextmanager
def stand_in(
    host: NetworkNamespace, folder: Path, *, real_time: bool = True, bare: bool = False
) -> Iterator[StandIn]:
    """A board that is not yet on, at two taps that are made in `host`, and stay when it is halted."""
    for tap in TAPS:
        assert host.run(["ip", "tuntap", "add", "dev", tap, "mode", "tap"]).returncode == 0
    host.add_address("tap1", HOST_MANAGEMENT, 24)
    for tap in TAPS:
        host.set_up(tap, True)
    board = StandIn(host, folder, real_time=real_time, bare=bare)
    if bare:
        (folder / "opt").mkdir()
        (folder / "systemd/system").mkdir(parents=True)
        _write_program(folder / "sshd", f"#!/bin/sh\nexec {shlex.join(board.access.command)}\n")
    else:
        _write_program(folder / "opt/spaceverse/venv/bin/python", PYTHON)
    try:
        yield board
    finally:
        board.switch_off()


def _write_program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
