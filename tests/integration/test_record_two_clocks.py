"""`spaceverse trace record` between two kernels whose clocks are an hour apart."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from testbed.machine import uml
from tests.support import ROOT
from tests.support.footprint import Footprint
from traces.trace_file import read_trace

pytestmark = [
    pytest.mark.root,
    pytest.mark.light,
    pytest.mark.skipif(uml.missing() is not None, reason=f"{uml.missing()}: {uml.FIX}"),
]
# In a network namespace of its own: a guest with its own kernel and clock behind a tap interface.
SCRIPT = """
ip link set lo up
ip tuntap add tap0 mode tap && ip addr add 10.77.0.1/24 dev tap0 && ip link set tap0 up || exit 90
{python} -m testbed.machine.uml --timeout 100 --tap tap0 -- sh -c '
    ip addr add 10.77.0.2/24 dev vec0 && ip link set vec0 up && date -s "+1 hour" &&
    exec {python} -m testbed.cli.main trace record --listen' &
guest=$!
{python} -m testbed.cli.main trace record --connect 10.77.0.2 --wait 60 --duration 3 -o {output}
code=$?
kill $guest
wait $guest
exit $code
"""


@pytest.fixture
def footprint() -> Iterator[Footprint]:
    with Footprint() as made:
        yield made


def test_clocks_an_hour_apart_give_halves_of_round_trips_and_say_so(
    tmp_path: Path, footprint: Footprint
) -> None:
    output = tmp_path / "link.csv"
    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", SCRIPT.format(python=sys.executable, output=output)],
        cwd=ROOT,
        env=footprint.environment,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert footprint.left_behind() == {}
    trace = read_trace(output)
    assert any("half a round trip" in note for note in trace.header.notes)
    assert np.array_equal(trace.down_delay_s, trace.up_delay_s)
    assert 0 < trace.down_delay_s.max() < 30  # no trace of the hour
    assert trace.contacts()
    # Trains are timed by their receiver's clock; those to the server are put where they belong all the same.
    for way in ("down", "up"):
        assert trace.extra[f"{way}_train_away_s"].max() < trace.end_s
