"""The agent as a systemd unit of its board: written, started, and watched until it has stayed up.

`systemctl restart` is content as soon as there is a process. An agent that ends a moment later, and again
each time that systemd starts it, is told from its unit's state:

    ActiveState=active      SubState=running         NRestarts=0                           it runs
    ActiveState=activating  SubState=auto-restart    ExecMainCode=1  ExecMainStatus=1      it has ended
    ActiveState=active      SubState=running         NRestarts=1     ExecMainStatus=0      it runs, once more
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import PurePosixPath

from testbed.boards.ssh import Shell, SshError

UNIT = "spaceverse-agent.service"
UNIT_PATH = PurePosixPath("/etc/systemd/system") / UNIT
LOOK_EVERY_S = 0.3  # several times in the second for which systemd waits before it starts the agent again
LAST_LINES = 3
_SHOW = ("systemctl", "show", "-p", "ActiveState,SubState,NRestarts,ExecMainCode,ExecMainStatus", UNIT)
# Of the agent itself, not of systemd about it, and not of its predecessors. A board may keep no journal.
_SAID = f'journalctl -q --no-pager -o cat -n {LAST_LINES} -S "@$0" _SYSTEMD_UNIT={UNIT} 2>/dev/null || true'
_EXITED = 1  # CLD_EXITED of waitid(2); the others are signals


@dataclass(frozen=True)
class UnitState:
    """What systemd says of the unit; `main_code` and `main_status` are 0 while its process runs."""

    active: str
    sub: str
    restarts: int
    main_code: int
    main_status: int

    @classmethod
    def of(cls, shown: str) -> UnitState:
        """Read what `systemctl show` prints."""
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
        """How its process has ended, in words; empty while it runs."""
        if self.main_code == 0:
            return ""
        return f"{'exit status' if self.main_code == _EXITED else 'signal'} {self.main_status}"


def has_died(first: UnitState, now: UnitState) -> bool:
    """Whether the process that was started has ended; `first` was read right after its start."""
    return (now.active, now.sub) != ("active", "running") or now.restarts > first.restarts


async def start_agent(shell: Shell, python: str, config: PurePosixPath, watch_s: float) -> None:
    """Write the unit, start it, and see it stay up for `watch_s`.

    Raises:
        SshError: systemd did not take it, or the agent has ended; the text holds its last words.
    """
    await shell.write(UNIT_PATH, unit_text(python, config))
    await shell.run("systemctl", "daemon-reload")
    await shell.run("systemctl", "enable", "--quiet", UNIT)
    since = (await shell.run("date", "+%s")).strip()  # in the board's own time
    await shell.run("systemctl", "restart", UNIT)
    first = now = UnitState.of(await shell.run(*_SHOW))
    until_s = time.monotonic() + watch_s
    while not has_died(first, now):
        if time.monotonic() > until_s:
            return
        await asyncio.sleep(LOOK_EVERY_S)
        now = UnitState.of(await shell.run(*_SHOW))
    raise SshError(complaint(shell.board, now, await shell.run("sh", "-c", _SAID, since)))


def complaint(board: str, state: UnitState, said: str) -> str:
    """Return the one line on an agent that does not stay up, with its last words."""
    lines = " | ".join(line.strip() for line in said.splitlines() if line.strip())
    return (
        f"board {board}: the agent ends right after its start{f' ({state.end})' if state.end else ''}: "
        f"{lines or 'it said nothing'}; mend that there, systemd goes on starting it "
        f"(all of it: journalctl -u {UNIT})"
    )


def unit_text(python: str, config: PurePosixPath) -> str:
    """Return the agent's systemd unit: it is started again whenever it ends, and however often."""
    return f"""[Unit]
Description=SpaceVerse agent of this board
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
ExecStart={python} -m nodes.agent {config}
Restart=always
RestartSec=1
TimeoutStopSec=10

[Install]
WantedBy=multi-user.target
"""
