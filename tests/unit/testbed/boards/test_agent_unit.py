"""States of the agent's unit that count as its end, in output printed by systemd."""

from __future__ import annotations

import pytest

from testbed.boards.deploy.agent_unit import UnitState, complaint, has_died

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
