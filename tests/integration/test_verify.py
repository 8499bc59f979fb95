"""`spaceverse verify --quick` with nfqueue on this machine; test_netem_in_uml.py has netem.

Reordering, loss, bytes after LOS and a wrong loss rate must not occur on a busy machine either. The bounds on
time and rate apply to an idle machine only, not to one that runs tests. Here each of these figures must
exist, and a link with a larger error than any machine could cause must fail.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from testbed.measure.captures import compare, read_capture
from testbed.network.link_state import Direction, LinkState
from testbed.network.shapers.nfqueue.shaper import NfqueueShaper
from testbed.verify.pass_measurement import CAPTURES
from testbed.verify.verify import verify
from tests.support import ROOT
from tests.support.footprint import Footprint
from tests.support.verified import is_exact, judge

COMMAND = [sys.executable, "-m", "testbed.cli.main", "verify", "--quick", "--json"]
TOO_LATE_S, TOO_SLOW = 5e-3, 0.8  # worse than a starved machine makes a median, and than it makes a rate


class WrongShaper(NfqueueShaper):
    """Claims to do what it is told, and is late and slow."""

    def apply_all(self, requested: Sequence[tuple[str, Direction, LinkState]]) -> list[LinkState]:
        super().apply_all([(link, way, self._spoilt(state)) for link, way, state in requested])
        return [state for _, _, state in requested]

    @staticmethod
    def _spoilt(state: LinkState) -> LinkState:
        if not state.up:
            return state
        return replace(state, rate_bit_s=TOO_SLOW * state.rate_bit_s, delay_s=state.delay_s + TOO_LATE_S)


@pytest.mark.long
@pytest.mark.root
def test_a_link_that_is_late_and_slow_is_found_so() -> None:
    groups = {"rtt", "tcp", "udp", "message", "pass"}
    checks = verify(WrongShaper, quick=True, only=groups).checks
    assert {check.group for check in checks} == groups
    timed = [check for check in checks if check.group != "pass"]
    timed = [check for check in timed if not is_exact(check.to_json()) and check.checked]
    assert {check.group for check in timed} == {"rtt", "tcp", "udp", "message"}
    assert [check.what for check in timed if check.ok] == []
    beside = [check for check in checks if "this machine carries" in check.what]
    assert {check.group for check in beside} == {"tcp", "udp"}
    along = [check for check in checks if check.what.startswith("RTT along the pass") and check.checked]
    assert along
    assert [check.what for check in along if check.ok] == []


@pytest.mark.long
@pytest.mark.root
def test_nfqueue_on_this_machine(tmp_path: Path) -> None:
    plot, captures = tmp_path / "pass.png", tmp_path / "captures"

    with Footprint() as footprint:
        command = [*COMMAND, "--shaper", "nfqueue", "--plot", str(plot), "--capture", str(captures)]
        done = subprocess.run(
            command, cwd=ROOT, env=footprint.environment, capture_output=True, text=True, check=False
        )
        assert done.stdout, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        assert done.returncode == (0 if found["ok"] else 1)
        assert footprint.left_behind() == {}
    captured = [check for check in found["checks"] if check["group"] == "capture"]
    assert len(captured) == 4
    assert all(check["samples"] > 100 for check in captured)
    judge(found)
    assert plot.read_bytes().startswith(b"\x89PNG")
    down = compare(*(read_capture(captures / name) for name in CAPTURES))["down"]
    assert (down.duplicated, down.reordered) == (0, 0)


@pytest.mark.root
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_verify_that_is_stopped_leaves_nothing(number: int) -> None:
    with Footprint() as footprint:
        process = subprocess.Popen(
            [*COMMAND, "--shaper", "nfqueue"],
            cwd=ROOT,
            env=footprint.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        shaper_of(process.pid)
        os.kill(process.pid, number)
        _, said = process.communicate(timeout=10)
        assert process.returncode == 128 + number
        assert b"All namespaces, interfaces and processes were removed." in said
        assert footprint.left_behind() == {}


@pytest.mark.root
def test_a_dead_shaper_ends_it_with_one_line() -> None:
    with Footprint() as footprint:
        process = subprocess.Popen(
            [*COMMAND, "--shaper", "nfqueue"],
            cwd=ROOT,
            env=footprint.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        os.kill(shaper_of(process.pid), signal.SIGKILL)
        _, said = process.communicate(timeout=10)
        assert process.returncode == 1
        assert b"spaceverse: error: the nfqueue process ended" in said
        assert b"Traceback" not in said
        assert footprint.left_behind() == {}


def shaper_of(pid: int) -> int:
    deadline_s = time.monotonic() + 60
    while time.monotonic() < deadline_s:
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in children.read_text().split():
                if "testbed.network.shapers.nfqueue.process" in Path(f"/proc/{child}/cmdline").read_text():
                    time.sleep(1.0)  # let it measure something first
                    return int(child)
        time.sleep(0.05)
    raise AssertionError("no shaper was started")
