"""`spaceverse board deploy` as a user calls it, to a board with a kernel and a systemd of its own.

Not collected by itself, as installing takes minutes in User-Mode Linux: test_deploy.py has the same in CI, to
an ssh server on this machine and without systemd.

    sudo .venv/bin/python -m pytest -s tests/integration/boards/deploy_stand_in.py
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from nodes.models import COMPACT
from testbed.boards.deploy.agent_unit import UNIT
from testbed.machine import uml
from tests.integration.boards.test_deploy import wheels  # noqa: F401 - a fixture
from tests.support.boards.flight import Desk, board_desk
from tests.support.boards.stand_in import UP_WITHIN_S
from tests.support.waiting import wait_for

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(uml.missing() is not None, reason=f"{uml.missing()}: {uml.FIX}"),
    pytest.mark.skipif(
        not Path("/usr/lib/systemd/systemd").exists(), reason="no systemd: apt-get install systemd"
    ),
]
# By itself systemd gives a unit up that it has started five times within ten seconds.
KILL_OFTEN = f"""
kills=0
for look in $(seq 100); do
    pid=$(systemctl show --value -p MainPID {UNIT})
    if [ "$pid" -gt 0 ] && kill -9 $pid; then kills=$((kills + 1)); fi
    if [ $kills = 8 ]; then echo $pid; exit 0; fi
    sleep 0.2
done
exit 1
"""
# Its capabilities and NoNewPrivs, whether it can write to /opt or read root's agent.json, who can, and
# whether its folder is its own.
HOW_CONFINED = """
set -- $(awk '/^CapEff|^CapBnd/ {{c += ($2 != "0000000000000000")}}
    /^NoNewPrivs/ {{n = $2}} END {{print c, n}}' /proc/{pid}/status)
echo $1 $2
uid=$(stat -c %u /proc/{pid}); test $uid -gt 0
for action in "touch /opt/x" "cat /opt/spaceverse/agent.json"; do
    nsenter -t {pid} -m setpriv --reuid $uid --clear-groups $action > /dev/null 2>&1 && echo yes || echo no
done
stat -c '%a %u' /opt/spaceverse/agent.json
test $(stat -Lc %u /var/lib/spaceverse-agent) = $uid && echo same
"""


def agent_pid(desk: Desk) -> int:
    """Of the agent that systemd has started; 0 if there is none."""
    return int(desk.board.shell(f"systemctl show --value -p MainPID {UNIT}").stdout or 0)


def test_a_bare_board_is_made_one(wheels: Path, tmp_path: Path) -> None:  # noqa: F811 - the fixture
    model = tmp_path / "own-model"
    model.mkdir()
    for name in ("config.json", "processor_config.json"):
        (model / name).write_bytes((COMPACT / name).read_bytes())
    with board_desk(tmp_path, real_time=False, bare=True) as desk:
        desk.board.wait_until_up()
        deploy = f"board deploy jetson-1 --bundle {wheels} --add-model {model} {desk.login}"
        begin_s = time.monotonic()
        first = desk.command(deploy)
        print(f"deployed in {time.monotonic() - begin_s:.0f} s")
        assert first.returncode == 0, first.stderr + first.stdout
        count = len(list(wheels.glob("*.whl")))
        assert f"jetson-1: {count} wheels and 2 model files sent" in first.stdout
        assert "no systemd" not in first.stdout
        assert agent_pid(desk) > 0
        confined = desk.board.shell(HOW_CONFINED.format(pid=agent_pid(desk)))
        print(confined.stdout, confined.stderr)
        assert confined.stdout.splitlines() == ["0 1", "no", "no", "600 0", "same"]
        killed = desk.board.shell(KILL_OFTEN)
        assert killed.returncode == 0
        wait_for(
            lambda: agent_pid(desk) not in (0, int(killed.stdout)),
            "an agent that is started again",
            UP_WITHIN_S,
        )
        begin_s = time.monotonic()
        again = desk.command(deploy)
        print(f"again in {time.monotonic() - begin_s:.0f} s")
        assert again.returncode == 0, again.stderr + again.stdout
        assert "jetson-1: 0 wheels and 0 model files sent" in again.stdout
        assert "installing" not in again.stdout
        desk.board.halt()
        desk.board.switch_on()
        desk.board.wait_until_up()
        wait_for(lambda: agent_pid(desk) > 0, "an agent after switching on", UP_WITHIN_S)

        # Its disk is empty and read-only: `--check` is content, and systemd cannot make the folder.
        read_only = f"systemctl stop {UNIT} && rm -r /var/lib/* && mount -o remount,ro /var/lib"
        assert desk.board.shell(read_only).returncode == 0
        refused = desk.command(deploy)
        print(refused.stderr)
        assert refused.returncode == 1 and "model files sent" not in refused.stdout
        (line,) = refused.stderr.strip().splitlines()
        assert "board jetson-1: the agent ends right after its start" in line
        assert "execution directory in /var/lib" in line and f"journalctl -u {UNIT}" in line
        assert desk.board.shell("mount -o remount,rw /var/lib").returncode == 0
        mended = desk.command(deploy)
        assert mended.returncode == 0, mended.stderr + mended.stdout
