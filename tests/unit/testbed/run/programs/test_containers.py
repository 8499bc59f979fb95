"""What is checked of containers before a run, and what the runtime is told of one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from testbed.errors import CapabilityError, ScenarioError
from testbed.run.programs import containers
from testbed.run.programs.containers import STATE, check_command, check_containers, container_command
from testbed.run.programs.images import PATH, Image
from testbed.scenario.model import Scenario
from testbed.scenario.programs import Container
from tests.support.injected_run import scenario_of


def scenario(folder: Path, **its: Any) -> Scenario:
    container = {"name": "c", "image": str(folder), **its}
    return Scenario.model_validate(scenario_of(folder, satellite={"programs": [container]}))


def test_a_missing_runtime_or_image_is_named_before_anything_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ScenarioError, match=r"S: container c: no image at .*/none: write it with"):
        check_containers(scenario(tmp_path, image=str(tmp_path / "none")))
    monkeypatch.setattr(containers, "find_program", lambda name: None)
    with pytest.raises(
        CapabilityError, match="S: container c: crun, which runs containers, was not found: apt"
    ):
        check_containers(scenario(tmp_path))


def test_a_machine_that_may_not_mount_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "_NAMESPACES", [])  # its first mount fails: its folder is of another
    monkeypatch.setattr(containers, "_SET_UP", "echo mount: permission denied. >&2; exit 32")
    with pytest.raises(CapabilityError, match=r"cannot run containers: mount: permission denied\.; "):
        check_containers(scenario(tmp_path))


def test_a_container_needs_a_command_of_its_own_or_of_its_image(tmp_path: Path) -> None:
    silent = Container(name="c", image=tmp_path)
    with pytest.raises(ScenarioError, match=r"container c: its image .* names no command: give one"):
        check_command(silent, Image(tmp_path))
    check_command(silent, Image(tmp_path, {"args": ["/app"]}))
    check_command(silent.model_copy(update={"command": ("/app",)}), Image(tmp_path))


def test_the_runtime_is_told_of_command_user_variables_and_network(tmp_path: Path) -> None:
    process = {"args": ["/app"], "env": ["A=b"], "cwd": "/w", "user": {"uid": 7, "gid": 8}}
    container = Container(name="My own", image=tmp_path, command=("/bin/x", "1"))
    environment = {"SPACEVERSE_STATE": STATE}
    command = container_command(
        container, Image(tmp_path, process), tmp_path / "c", tmp_path / "s", environment
    )
    assert command[-3:] == ["--bundle", str(tmp_path / "c"), "container"]
    config = json.loads((tmp_path / "c/config.json").read_text())
    its = config["process"]
    assert (its["args"], its["cwd"], its["user"]) == (["/bin/x", "1"], "/w", {"uid": 7, "gid": 8})
    assert its["env"] == ["A=b", f"SPACEVERSE_STATE={STATE}"] and config["hostname"] == "my-own"
    kinds = {namespace["type"] for namespace in config["linux"]["namespaces"]}
    assert kinds == {"pid", "ipc", "uts", "mount"}, "its network is that of whoever starts it"
    assert not {"CAP_MKNOD", "CAP_SYS_ADMIN", "CAP_NET_ADMIN"} & set(its["capabilities"]["bounding"])
    plain = Image(tmp_path).process
    assert plain["env"] == [PATH] and plain["user"] == {"uid": 0, "gid": 0}


def test_a_scenario_tells_programs_and_containers_apart(tmp_path: Path) -> None:
    made = scenario(tmp_path)
    (container,) = made.satellites[0].programs
    assert container == Container(name="c", image=tmp_path) and str(tmp_path) in container.executed
    assert Scenario.model_validate_json(made.model_dump_json()) == made
    with pytest.raises(ValueError, match="colour") as refused:
        scenario(tmp_path, colour=1)
    assert "command" not in str(refused.value), "fields of a NodeProgram are not missed in a container"
