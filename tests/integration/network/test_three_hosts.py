"""The contact link in a plain Mininet script, run by Mininet's own command line."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.footprint import Footprint

pytestmark = pytest.mark.root
SCRIPT = ROOT / "topologies/three_hosts.py"

COMMANDS = """\
nodes
links
sat ping -c 5 -i 0.05 svalbard
inuvik ping -c 5 -i 0.05 10.0.2.1
sat ping -c 2 -i 0.05 fd00:1::2
svalbard ping -c 1 -W 1 10.0.2.2
py net.linksBetween(sat, inuvik)[0].set(*[__import__('testbed').network.link_state.DOWN_STATE] * 2)
sat cat /sys/class/net/sat-eth1/carrier
py str(net.linksBetween(sat, inuvik)[0].states()[0].up)
link sat svalbard down
sat ping -c 1 -W 1 10.0.1.2
link sat svalbard up
sat ping -c 3 -i 0.05 10.0.1.2
"""


def test_mininets_command_line_drives_contact_links(tmp_path: Path) -> None:
    commands = tmp_path / "commands"
    commands.write_text(COMMANDS)
    with Footprint() as footprint:
        done = subprocess.run(
            [sys.executable, str(SCRIPT), "--commands", str(commands)],
            capture_output=True,
            text=True,
            check=False,
            env=footprint.environment,
            timeout=60,
        )
        said = done.stdout + done.stderr
        assert done.returncode == 0, said
        assert footprint.left_behind() == {}
    assert "Traceback" not in said
    assert "sat-eth0<->svalbard-eth0 (OK OK)" in said
    received = [int(found) for found in re.findall(r"(\d+) received", said)]
    assert received == [5, 5, 2, 3], said
    # The stations do not know each other, and a link that Mininet takes down has no route.
    assert said.count("Network is unreachable") == 2
    rtts_ms = [float(found) for found in re.findall(r"time=([\d.]+) ms", said)][:10]
    # 98 bytes at 8 Mbit/s and at 250 kbit/s, and twice 4 ms.
    assert sorted(rtts_ms)[5] == pytest.approx(8 + 0.098 + 3.136, abs=1.0)
    assert {"0", "False"} <= set(said.splitlines())  # carrier and state of the link to Inuvik in the end


def test_a_trace_that_is_not_there_is_one_line() -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--trace", "/nowhere.csv"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "/nowhere.csv" in done.stderr.splitlines()[-1]
