"""`spaceverse replay --shaper netem` as a user runs it: ping measures the recorded round trips."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT

LINK = "time_s,down,up,rtt\n0,8,2,40\n1.8,4,2,30\n5,4,2,30\n"


def test_ping_over_netem_sees_the_recorded_round_trips(tmp_path: Path) -> None:
    """A slow guest only adds to a round trip: the shortest of each stretch is the link's."""
    (tmp_path / "link.csv").write_text(LINK)
    done = subprocess.run(
        [
            sys.executable, "-m", "testbed.cli.main", "replay", str(tmp_path / "link.csv"),
            "--columns", "time=time_s:s,down=down:Mbit/s,up=up:Mbit/s,rtt=rtt:ms",
            "--shaper", "netem", "--no-probe", "--json", "--output", str(tmp_path / "runs"),
            "--client", "ping -D -c 18 -i 0.2 {server}",
        ],
        cwd=ROOT, capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    assert results["shaper"].startswith("netem")
    assert results["changes"] == 2
    assert results["counters"]["down"]["delivered"] >= 18
    rtts_ms = [float(found) for found in re.findall(r"time=([\d.]+) ms", done.stderr)]
    assert len(rtts_ms) == 18
    assert min(rtts_ms[:6]) == pytest.approx(40.5, abs=1.0)
    assert min(rtts_ms[-6:]) == pytest.approx(30.5, abs=1.0)
