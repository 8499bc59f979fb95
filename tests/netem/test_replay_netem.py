"""`spaceverse replay --shaper netem` as a user runs it: ping measures the recorded round trips."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import ROOT

LINK = "time_s,down,up,rtt\n0,8,2,40\n1.8,4,2,30\n5,4,2,30\n"


def replayed(folder: Path, *options: str) -> tuple[dict[str, Any], str]:
    """The results, and what the client printed."""
    (folder / "link.csv").write_text(LINK)
    done = subprocess.run(
        [
            sys.executable, "-m", "testbed.cli.main", "replay", str(folder / "link.csv"),
            "--columns", "time=time_s:s,down=down:Mbit/s,up=up:Mbit/s,rtt=rtt:ms",
            "--shaper", "netem", "--json", "--output", str(folder / "runs"), *options,
        ],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results: dict[str, Any] = json.loads(done.stdout)
    assert results["shaper"].startswith("netem")
    return results, done.stderr


def test_ping_over_netem_sees_the_recorded_round_trips(tmp_path: Path) -> None:
    """A slow guest only adds to a round trip: the shortest of each stretch is the link's."""
    results, said = replayed(tmp_path, "--no-probe", "--client", "ping -D -c 18 -i 0.2 {server}")
    assert results["changes"] == 2
    assert results["counters"]["down"]["delivered"] >= 18
    rtts_ms = [float(found) for found in re.findall(r"time=([\d.]+) ms", said)]
    assert len(rtts_ms) == 18
    assert min(rtts_ms[:6]) == pytest.approx(40.5, abs=1.0)
    assert min(rtts_ms[-6:]) == pytest.approx(30.5, abs=1.0)


def test_a_full_netem_link_still_ends_in_numbers(tmp_path: Path) -> None:
    """netem does not tell what a packet waits for: then the round trips under load stand as they are."""
    client = "iperf3 -c {server} -R -t 4"
    results, _ = replayed(tmp_path, "--server", "iperf3 -s -1", "--client", client)
    fidelity, down = results["fidelity"], results["traffic"]["down"]
    assert fidelity["queued_rtt_samples"] >= 5
    assert fidelity["queued_wait_s"] is None
    assert fidelity["queued_measured_rtt_s"] > fidelity["queued_requested_rtt_s"]
    assert 0.3 < down["carried_bytes"] / down["requested_bytes"] <= 1
    assert Path(results["files"]["plot"]).read_bytes().startswith(b"\x89PNG")
