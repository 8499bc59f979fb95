"""One satellite floods a station at the rate of its link; the transfer of another takes as long as before."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from testbed.network.programs import spawn
from tests.support.nodes.ends import GroundEnd, SatelliteEnd
from tests.support.nodes.flooder import NAME
from tests.support.starved import unless_starved
from tests.support.waiting import wait_for

pytestmark = pytest.mark.alone
RATE_BIT_S = 40e6  # of either link
IMAGE_BYTES = 4_000_000
FLOODS = ("manifests", "items", "chunks", "bodies", "rubbish", "heartbeats", "connections")
SLOWER_MAX = 1.2
FLOOD_HEAD_START_S = 1.0


@contextmanager
def flood(port: int, kind: str) -> Iterator[None]:
    """Let a process flood, while the block runs."""
    command = [sys.executable, "-m", "tests.support.nodes.flooder", str(port), kind, str(RATE_BIT_S)]
    process = spawn(command)
    try:
        time.sleep(FLOOD_HEAD_START_S)
        assert process.poll() is None, "the flood has ended"
        yield
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("kind", FLOODS)
def test_flood_of_one_satellite_slows_another_by_less_than_a_fifth(
    kind: str, satellite: SatelliteEnd, ground: GroundEnd, port: int, tmp_path: Path
) -> None:
    sent = 0

    def transfer_s() -> float:
        nonlocal sent
        sent += 1
        image = tmp_path / "image"
        image.write_bytes(os.urandom(IMAGE_BYTES))
        begun_s = time.monotonic()
        satellite.add_image(f"image {sent}", image)
        wait_for(lambda: bool(satellite.of("delivered", frame=f"image {sent}")), "delivery", 60)
        return time.monotonic() - begun_s

    def slower() -> float:
        calm_s = [transfer_s() for _ in range(2)]
        with flood(port, kind):
            flooded_s = [transfer_s() for _ in range(3)]
        print(
            f"{kind}: {statistics.median(flooded_s) / min(calm_s):.2f} times as long; {calm_s}, {flooded_s}"
        )
        return statistics.median(flooded_s) / min(calm_s)

    transfer_s()
    unless_starved(slower, lambda ratio: ratio < SLOWER_MAX)
    assert ground.process.poll() is None, "the ground program has ended"
    refused = [event["count"] for event in ground.of("malformed", sender=NAME)]
    if kind not in ("chunks", "connections"):
        assert refused and refused[-1] > 5, "nothing was refused: no flood"
    assert len(refused) < 120, "a flood of events"
    assert ground.of("malformed", sender="sat") == [], "refused a satellite that does not flood"
    arrivals = "heartbeat", "received_first", "received"  # of what is accepted: 200 items a second
    assert len([e for e in ground.events if e["event"] not in arrivals]) < 3000, "a flood of events"


def test_image_of_a_satellite_that_comes_during_a_flood_is_received(
    ground: GroundEnd, satellite: SatelliteEnd, port: int, image: Path
) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.nodes.flooder", str(port), "manifests", "1e9"]
    ) as unlimited:
        time.sleep(FLOOD_HEAD_START_S)
        satellite.add_image("dam", image)
        try:
            wait_for(lambda: bool(satellite.of("delivered", frame="dam")), "delivery", 60)
        finally:
            unlimited.kill()
    assert image.read_bytes() in ground.files()
