"""One process checks the configurations of many nodes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nodes import check

# A policy may print, and end its process in the middle of the check.
NOISY = """
import os, sys

print("noise")
print("a line of the policy", file=sys.stderr, flush=True)
os._exit(3)
"""


def satellite(folder: Path, name: str, **changes: object) -> Path:
    (folder / "frame.jpg").write_bytes(b"not looked into")
    path = folder / f"{name}.json"
    config = {
        "name": name,
        "stations": [{"name": "Svalbard", "host": "10.0.0.2", "port": 1883}],
        "management": {"unix_socket": "m"},
        "model": "owner/model",
        "accept_confidence": 0.75,
        "frames": [{"frame": "f", "image": str(folder / "frame.jpg"), "prompt": "?", "capture_s": 1.0}],
        "outbox": str(folder / "outbox"),
        "rate_bit_s": 20e6,
    }
    path.write_text(json.dumps(config | changes))
    return path


def ground(folder: Path, name: str, **changes: object) -> Path:
    path = folder / f"{name}.json"
    config = {
        "name": name,
        "management": {"unix_socket": "m"},
        "broker": {"unix_socket": "b"},
        "model": "owner/model",
        "inbox": str(folder / "inbox"),
    }
    path.write_text(json.dumps(config | changes))
    return path


def found(arguments: list[object], capfd: pytest.CaptureFixture[str]) -> tuple[int, dict[str, str | None]]:
    status = check.main(list(map(str, arguments)))
    output, errors = capfd.readouterr()
    assert errors == ""
    return status, {Path(one["config"]).stem: one["fault"] for one in map(json.loads, output.splitlines())}


def test_each_configuration_has_its_own_fault_also_if_a_policy_ends_its_process(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "noisy.py").write_text(NOISY)
    noisy = {"accept_confidence": None, "policy": str(tmp_path / "noisy.py")}
    satellites = [
        satellite(tmp_path, "first"),
        satellite(tmp_path, "noisy", **noisy),
        satellite(tmp_path, "fast", rate_bit_s="fast"),
        satellite(tmp_path, "last"),
    ]
    stations = [ground(tmp_path, "good"), ground(tmp_path, "server", model="openai:8000")]
    status, faults = found(["--satellite", *satellites, "--ground", *stations], capfd)
    assert status == 2
    assert list(faults) == ["first", "noisy", "fast", "last", "good", "server"], "in order"
    assert faults["noisy"] == "a line of the policy"
    assert faults["fast"] is not None and faults["fast"].startswith(f"satellite: {satellites[2]}: rate_bit_s")
    assert faults["server"] is not None and "openai:8000 is not a server address" in faults["server"]
    assert [faults[name] for name in ("first", "last", "good")] == [None] * 3


def test_configurations_without_a_fault_end_with_status_0(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert found(["--ground", ground(tmp_path, "good")], capfd) == (0, {"good": None})
