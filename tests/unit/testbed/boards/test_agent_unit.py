"""The agent's unit, and its states that count as its end, in output printed by systemd."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path, PurePosixPath

import pytest

from testbed.boards.agent_access import AGENT_FOLDER
from testbed.boards.deploy.agent_unit import UNIT, UnitState, complaint, has_died, unit_text

SHOWN = "ExecMainCode={}\nExecMainStatus={}\nNRestarts={}\nActiveState={}\nSubState={}\n"
RUNS = SHOWN.format(0, 0, 0, "active", "running")


def test_an_agent_that_runs_has_not_died() -> None:
    assert not has_died(UnitState.of(RUNS), UnitState.of(RUNS))


@pytest.mark.parametrize(
    ("shown", "end"),
    [
        (SHOWN.format(1, 1, 0, "activating", "auto-restart"), " (exit status 1)"),
        (SHOWN.format(2, 9, 1, "activating", "auto-restart"), " (signal 9)"),
        (SHOWN.format(0, 0, 1, "active", "running"), ""),
        (SHOWN.format(1, 203, 0, "failed", "failed"), " (exit status 203)"),
    ],
)
def test_one_that_has_died_is_told_with_its_last_words(shown: str, end: str) -> None:
    state = UnitState.of(shown)
    assert has_died(UnitState.of(RUNS), state)
    text = complaint("jetson-1", state, "Traceback\n\n  agent: no room\n")
    assert text.startswith(
        f"board jetson-1: the agent ends right after its start{end}: Traceback | agent: no room;"
    )
    assert "journalctl -u spaceverse-agent.service" in text and "\n" not in text
    assert "it printed nothing" in complaint("jetson-1", state, "")


CONFIG = PurePosixPath("/opt/spaceverse/agent.json")
LARGEST_EXPOSURE = 3.0  # of 10; 2.3 by systemd 252


def test_the_unit_starts_the_agent_again_whenever_it_ends() -> None:
    text = unit_text("/opt/spaceverse/venv/bin/python", CONFIG)
    assert (
        "ExecStart=/opt/spaceverse/venv/bin/python -m nodes.agent /run/spaceverse-agent/agent.json\n" in text
    )
    assert "Restart=always\n" in text
    assert "StartLimitIntervalSec=0\n" in text.partition("[Service]")[0]


def test_the_agent_runs_as_a_user_of_its_own_who_writes_to_its_folder_only() -> None:
    lines = unit_text("python3", CONFIG, ["video", "i2c"]).splitlines()
    assert {
        "User=spaceverse-agent",
        "DynamicUser=yes",
        "SupplementaryGroups=video i2c",
        "NoNewPrivileges=yes",
        "CapabilityBoundingSet=",
        "ProtectSystem=strict",
        "PrivateTmp=yes",
    } <= set(lines)
    assert not any(line.startswith("ReadWritePaths") for line in lines)
    (state,) = (line.partition("=")[2] for line in lines if line.startswith("StateDirectory="))
    assert f"/var/lib/{state}" == AGENT_FOLDER


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd: apt-get install systemd")
def test_systemd_accepts_the_unit_and_finds_it_well_confined(tmp_path: Path) -> None:
    path = tmp_path / UNIT
    path.write_text(unit_text("/usr/bin/env", CONFIG, ["video"]))

    def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, check=False)

    verified = analyze("verify", str(path))
    assert [line for line in verified.stderr.splitlines() if UNIT in line] == [], "others are not ours"
    judged = analyze("security", "--offline=yes", "--no-pager", str(path))
    if "unrecognized option" in judged.stderr:
        pytest.skip("systemd-analyze of this version judges running units only")
    found = re.search(r"exposure level for \S+: ([\d.]+)", judged.stdout)
    assert found is not None and float(found[1]) <= LARGEST_EXPOSURE, judged.stdout + judged.stderr
