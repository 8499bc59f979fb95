"""A stand-in of a board: a machine with a separate kernel, clock and two NICs, in User-Mode Linux.

Its root is this machine's file system; its /opt is a folder that survives a halt. Its NIC `vec0` is the link,
with `tap0` of the given namespace at the other end; `vec1` is for management, with `tap1` at the other end
and a real sshd. Its agent is restarted whenever it ends, as by the unit of `spaceverse board deploy`.
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

# Its clock is 3.7 s ahead and 100 ppm fast: MOD_FREQUENCY of adjtimex(2), in 2^-16 ppm, in struct timex.
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
# Its agent is that of this checkout, and is restarted whenever it ends.
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
# A real systemd with only its journal, its ssh server, and the units in /etc/systemd, which survives a halt.
# The journal does not.
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
    """The machine, which can be switched on and off; created by `stand_in`.

    Args:
        host: Namespace at the other end of its cables.
        folder: Its writable folder: /opt, logs, files of its agent.
        real_time: Whether it is preferred to ordinary programs, like a separate machine; for measurements.
        bare: Whether it has only systemd. Otherwise it is as after `spaceverse board deploy`, with the agent
            of this checkout.

    Attributes:
        access: Keys of its ssh server.
    """

    def __init__(self, host: NetworkNamespace, folder: Path, *, real_time: bool, bare: bool) -> None:
        self._host, self.folder, self._real_time, self._bare = host, folder, real_time, bare
        self.access = prepare_sshd(folder, MANAGEMENT, 22)
        self.log = folder / "board.log"
        self._process: subprocess.Popen[bytes] | None = None

    def switch_on(self, *, lasts_s: float = 600.0) -> None:
        """Start to boot; the agent starts once there is an `agent.json` in the folder."""
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
        """Kill the machine itself, without ending its programs first."""
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
        """Run a command on it, over ssh."""
        options = ["-i", str(self.access.identity), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes"]
        options += ["-o", f"UserKnownHostsFile={self.access.known_hosts}", "-o", "ConnectTimeout=5"]
        return self._host.run(["ssh", *options, f"root@{MANAGEMENT}", command])

    def wait_until_up(self) -> None:
        """Wait until a login succeeds."""
        wait_for(lambda: self.shell("true").returncode == 0, "a board that lets one in", UP_WITHIN_S)

    def kill_agent(self) -> bool:
        """Kill the agent; return False if it was just being restarted."""
        return self.shell("kill -9 $(cat /run/agent.pid)").returncode == 0


@contextmanager
def stand_in(
    host: NetworkNamespace, folder: Path, *, real_time: bool = True, bare: bool = False
) -> Iterator[StandIn]:
    """Yield a board that is switched off, at two new taps in `host`, which stay when it is halted."""
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
