"""The satellite's program at another machine's pace, with a power sensor."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from nodes.data import FIRST_LIGHT
from nodes.models import COMPACT
from testbed.broker import Broker, UnixListener
from testbed.management import ManagementPlane
from testbed.programs import Program
from tests.integration.nodes.ends import free_port, wait_for
from tests.unit.profiles.made_up import MADE_UP

PMIC = "#!/bin/sh\nprintf ' VDD_CORE_A current(7)=3.0A\\n VDD_CORE_V volt(15)=1.0V\\n'\n"


def test_events_of_a_satellite_with_a_profile_and_a_sensor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sensor = tmp_path / "vcgencmd"
    sensor.write_text(PMIC)
    sensor.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/sbin:/usr/bin:/bin")
    (tmp_path / "profile.json").write_text(json.dumps(MADE_UP))
    frames = [
        {
            "frame": f"f0{n}",
            "image": str(FIRST_LIGHT / f"f0{n}.jpg"),
            "prompt": "Is there any desert?",
            "capture_s": 0,
        }
        for n in (1, 2, 3)
    ]
    config = {
        "name": "Sat", "management": {"unix_socket": str(tmp_path / "plane")}, "model": str(COMPACT),
        "stations": [{"name": "Svalbard", "host": "127.0.0.1", "port": free_port()}],
        "frames": frames, "outbox": str(tmp_path / "outbox"), "rate_bit_s": 1e6,
        "profile": str(tmp_path / "profile.json"), "measure_power": True,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    with Broker(tmp_path, [UnixListener(tmp_path / "plane")]):
        run = ManagementPlane(tmp_path / "plane", tmp_path / "events.jsonl")
        command = [sys.executable, "-m", "nodes.satellite", "--config", str(tmp_path / "config.json")]
        node = Program("satellite", command, log=tmp_path / "log")
        try:
            wait_for(lambda: bool(run.seen(lambda e: e["event"] == "ready")), "ready", 60)
            run.start_nodes(time.monotonic())
            wait_for(
                lambda: len(run.seen(lambda e: e["event"] == "energy")) == 3, "energy of three answers", 20
            )
        finally:
            node.stop()
            run.close()

    def of(kind: str) -> dict[str, dict[str, float]]:
        return {e["frame"]: e for e in run.seen(lambda e: e["event"] == kind)}

    (ready,) = run.seen(lambda e: e["event"] == "ready")
    (found,) = run.seen(lambda e: e["event"] == "power_sensor")
    assert ready["profile"] == "made-up" and found["source"] == "vcgencmd pmic_read_adc"
    for frame, paced in of("paced").items():
        begun, finished = of("inference_started")[frame], of("inference_finished")[frame]
        took_s = finished["monotonic_s"] - begun["monotonic_s"]
        assert took_s >= paced["asked_s"] > 0.17 and paced["profile"] == "made-up"
        assert took_s - paced["asked_s"] - paced["late_s"] < 0.05
        assert (finished["vision_s"], finished["prefill_s"]) == (0.10, 0.05)
        energy = of("energy")[frame]
        assert energy["idle_w"] == pytest.approx(3.0)
        assert energy["energy_j"] == pytest.approx(0.0, abs=1e-6), "the recorded board never took more"
        assert energy["whole_j"] == pytest.approx(3.0 * energy["duration_s"], rel=1e-6)
    assert len(of("paced")) == 3
