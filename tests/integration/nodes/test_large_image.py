"""Transfer of 500 MB without models; neither end may hold the image in memory."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

from testbed.mqtt.broker import Broker
from tests.support import ROOT
from tests.support.nodes.ends import GroundEnd

SATELLITE_END = ROOT / "tests/support/nodes/satellite_end.py"
IMAGE_MIB = 500
LIMIT_KIB = 120 * 1024
PATIENCE_S = 300  # a slow disk makes this slow, not red


def peak_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


def test_large_image_is_held_by_disks_and_not_by_memory(
    ground: GroundEnd, broker: Broker, port: int, tmp_path: Path
) -> None:
    image = tmp_path / "large.bin"
    block = random.Random(1).randbytes(1 << 20)  # noqa: S311
    with image.open("wb") as file:
        for number in range(IMAGE_MIB):
            file.write(number.to_bytes(8, "big") + block[8:])
    try:
        ended = subprocess.run(
            [sys.executable, str(SATELLITE_END), str(tmp_path / "outbox"), str(port), str(image)],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=True,
        )
        (received,) = ground.of("received")
        assert received["sha256_ok"] and received["size_bytes"] == IMAGE_MIB << 20
        satellite_kib, ground_kib = int(ended.stdout.splitlines()[-1]), peak_kib(ground.process.pid)
        print(f"peak resident memory: satellite {satellite_kib} KiB, ground {ground_kib} KiB")
        assert satellite_kib <= LIMIT_KIB and ground_kib <= LIMIT_KIB
    finally:
        for path in tmp_path.glob("inbox/*/*/data"):
            path.unlink()
        image.unlink()
