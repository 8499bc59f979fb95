"""Findings about the report of a board's agent."""

from __future__ import annotations

from typing import Any

import pytest

from nodes.board.facts import facts
from testbed.boards.check.findings import usable
from testbed.boards.check.system import system_findings


def told(**changes: Any) -> dict[str, Any]:
    return facts(None) | changes


def test_this_machine_would_do() -> None:
    found = {finding.what: finding for finding in system_findings(told())}
    assert usable(list(found.values()))
    assert "torch 2." in found["packages"].detail and "GB free" in found["disk"].detail
    assert found["models"].detail == "only the pair that is part of the package"


@pytest.mark.parametrize(
    ("changes", "what", "detail"),
    [
        ({"python": "3.8.10"}, "Python", "3.8.10; 3.10 or newer is needed"),
        (
            {"packages": {"torch": None, "numpy": "2.0", "msgpack": None}},
            "packages",
            "missing: torch, msgpack",
        ),
        ({"free_bytes": 1e8}, "disk", "0.1 GB free"),
    ],
)
def test_what_is_missing_is_refused(changes: dict[str, Any], what: str, detail: str) -> None:
    refused = [finding for finding in system_findings(told(**changes)) if finding.verdict == "refused"]
    assert [(one.what, one.detail) for one in refused] == [(what, detail)]
    assert refused[0].instead


def test_the_clocks_state_is_told() -> None:
    def clock(chrony: Any) -> tuple[str, str]:
        (found,) = [one for one in system_findings(told(chrony=chrony)) if one.what == "clock"]
        return found.verdict, found.detail

    assert clock({"reference": "192.0.2.1", "bound_s": 4e-5}) == (
        "ok",
        "chrony follows 192.0.2.1, within 0.040 ms",
    )
    assert clock({"reference": None, "bound_s": None})[0] == "note"
    assert clock("chronyc is not installed")[1].startswith("chronyc is not installed; runs compare")


def test_accelerator_and_network_managers_are_told() -> None:
    def notes(**changes: Any) -> dict[str, tuple[str, str]]:
        return {one.what: (one.verdict, one.detail) for one in system_findings(told(**changes))}

    jetson = {"accelerator": "GPU of a Jetson", "memory_bytes": 16e9, "network_managers": ["NetworkManager"]}
    packages = dict.fromkeys(told()["packages"], "2.6.0")
    found = notes(**jetson, packages=packages)
    assert found["accelerator"] == ("ok", "GPU of a Jetson; 16.0 GB of memory")
    assert found["its network"][0] == "note"
    assert "nmcli device set INTERFACE managed no" in found["its network"][1]
    without = notes(**jetson, packages=packages | {"torch": "2.6.0+cpu"})
    assert without["accelerator"][0] == "note" and "built without CUDA" in without["accelerator"][1]
    none = notes(accelerator=None, memory_bytes=8e9, network_managers=[])
    assert none["accelerator"] == ("note", "none found: models run on the processor; 8.0 GB of memory")
    assert "its network" not in none
