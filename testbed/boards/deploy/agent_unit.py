"""The agent as a systemd unit of its board: written, started, and watched until it has stayed up.

systemd runs it as a user of its own, who may write to the agent's folder only and has no capabilities. The
configuration stays root's: before each start systemd copies it to where that user can read it.

`systemctl restart` succeeds as soon as there is a process. An agent that ends a moment later, and again
whenever systemd restarts it, is recognised by the state of its unit:

    ActiveState=active      SubState=running         NRestarts=0                           running
    ActiveState=activating  SubState=auto-restart    ExecMainCode=1  ExecMainStatus=1      ended
    ActiveState=active      SubState=running         NRestarts=1     ExecMainStatus=0      running again
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from testbed.boards.agent_access import AGENT_FOLDER
from testbed.boards.ssh import Shell, SshError

NAME = PurePosixPath(AGENT_FOLDER).name  # of its folder below /var/lib, its folder below /run, and its user
UNIT = "spaceverse-agent.service"
UNIT_PATH = PurePosixPath("/etc/systemd/system") / UNIT
LOOK_EVERY_S = 0.3  # several times per second, for which systemd waits before it restarts the agent
LAST_LINES = 3
# Groups that may open the devices of GPUs, power sensors and I2C buses, where a board has them.
DEVICE_GROUPS = ("video", "render", "i2c", "gpio")
_GROUPS = (
    "sh",
    "-c",
    'for group; do if getent group "$group" > /dev/null; then echo "$group"; fi; done',
    "sh",
)
_SHOW = ("systemctl", "show", "-p", "ActiveState,SubState,NRestarts,ExecMainCode,ExecMainStatus", UNIT)
# Output of the agent, without systemd's messages and earlier starts. A board may have no journal.
_LAST_OUTPUT = (
    f'journalctl -q --no-pager -o cat -n {LAST_LINES} -S "@$0" _SYSTEMD_UNIT={UNIT} 2>/dev/null || true'
)
_EXITED = 1  # CLD_EXITED of waitid(2); the others are signals


@dataclass(frozen=True)
class UnitState:
    """State of the unit in systemd; `main_code` and `main_status` are 0 while its process runs."""

    active: str
    sub: str
    restarts: int
    main_code: int
    main_status: int

    @classmethod
    def of(cls, shown: str) -> UnitState:
        """Parse the output of `systemctl show`."""
        value = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
        return cls(
            value["ActiveState"],
            value["SubState"],
            int(value["NRestarts"]),
            int(value["ExecMainCode"]),
            int(value["ExecMainStatus"]),
        )

    @property
    def end(self) -> str:
        """Exit status or signal of its process in words; empty while it runs."""
        if self.main_code == 0:
            return ""
        return f"{'exit status' if self.main_code == _EXITED else 'signal'} {self.main_status}"


def has_died(first: UnitState, now: UnitState) -> bool:
    """Return whether the started process has ended; `first` is the state right after its start."""
    return (now.active, now.sub) != ("active", "running") or now.restarts > first.restarts


async def start_agent(shell: Shell, python: str, config: PurePosixPath, watch_s: float) -> None:
    """Write the unit, start it, and check that it stays up.

    Args:
        shell: Connection to the board.
        python: Python interpreter on the board.
        config: Configuration of the agent on the board.
        watch_s: How long it has to stay up, seconds.

    Raises:
        SshError: systemd rejected the unit, or the agent has ended; the text has its last output.
    """
    groups = (await shell.run(*_GROUPS, *DEVICE_GROUPS)).split()
    await shell.write(UNIT_PATH, unit_text(python, config, groups))
    await shell.run("systemctl", "daemon-reload")
    await shell.run("systemctl", "enable", "--quiet", UNIT)
    since = (await shell.run("date", "+%s")).strip()  # by the clock of the board
    refused = ""
    try:
        await shell.run("systemctl", "restart", UNIT)
    except SshError as error:  # a step before the agent's own program failed
        refused = str(error)
    first = now = UnitState.of(await shell.run(*_SHOW))
    until_s = time.monotonic() + watch_s
    while not has_died(first, now):
        if time.monotonic() > until_s:
            return
        await asyncio.sleep(LOOK_EVERY_S)
        now = UnitState.of(await shell.run(*_SHOW))
    output = await shell.run("sh", "-c", _LAST_OUTPUT, since)
    raise SshError(complaint(shell.board, now, output.strip() or refused))


def complaint(board: str, state: UnitState, output: str) -> str:
    """Return the one-line error about an agent that does not stay up, with its last output."""
    lines = " | ".join(line.strip() for line in output.splitlines() if line.strip())
    return (
        f"board {board}: the agent ends right after its start{f' ({state.end})' if state.end else ''}: "
        f"{lines or 'it printed nothing'}; fix the cause on the board, where systemd keeps restarting it "
        f"(whole log: journalctl -u {UNIT})"
    )


def unit_text(python: str, config: PurePosixPath, groups: Sequence[str] = ()) -> str:
    """Return the agent's systemd unit, which restarts it whenever it ends, without a limit.

    Args:
        python: Python interpreter on the board.
        config: Configuration of the agent, which only root can read.
        groups: Groups of the board that may open the devices which a node needs.
    """
    copy = f'install -m 0400 -o "$$(stat -Lc %%u /run/{NAME})" {config} /run/{NAME}/{config.name}'
    # Without PrivateDevices and ProtectClock, which hide GPUs and sensors, and MemoryDenyWriteExecute, which
    # torch's compiled code does not survive.
    return f"""[Unit]
Description=SpaceVerse agent of this board
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
ExecStartPre=+/bin/sh -c '{copy}'
ExecStart={python} -m nodes.agent /run/{NAME}/{config.name}
Restart=always
RestartSec=1
TimeoutStopSec=10

User={NAME}
DynamicUser=yes
SupplementaryGroups={" ".join(groups)}
StateDirectory={NAME}
StateDirectoryMode=0700
RuntimeDirectory={NAME}
RuntimeDirectoryMode=0700
Environment=HOME={AGENT_FOLDER}
UMask=0077

NoNewPrivileges=yes
CapabilityBoundingSet=
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=yes
ProtectProc=invisible
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
LockPersonality=yes
RemoveIPC=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"""
