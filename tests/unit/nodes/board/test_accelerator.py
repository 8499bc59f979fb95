"""Accelerator and memory of a board, found in files and by nvidia-smi."""

from __future__ import annotations

from pathlib import Path

import pytest

from nodes.board.accelerator import accelerator, memory_bytes


def test_a_jetson_is_known_by_its_model(tmp_path: Path) -> None:
    (tmp_path / "proc/device-tree").mkdir(parents=True)
    (tmp_path / "proc/device-tree/model").write_bytes(b"NVIDIA Jetson Orin NX Developer Kit\0")
    (tmp_path / "proc/meminfo").write_text("MemTotal:       15656340 kB\nMemFree: 1 kB\n")
    assert accelerator(tmp_path) == (
        "GPU of NVIDIA Jetson Orin NX Developer Kit, which shares the board's memory"
    )
    assert memory_bytes(tmp_path) == 15656340 * 1024


def test_cards_are_those_that_nvidia_smi_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA GeForce RTX 3090, 24576'\necho 'Tesla T4, 15360'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert accelerator(tmp_path) == "NVIDIA GeForce RTX 3090, 24576 MiB; Tesla T4, 15360 MiB"


def test_a_machine_without_one_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert accelerator(tmp_path) is None
    assert memory_bytes(tmp_path) is None
