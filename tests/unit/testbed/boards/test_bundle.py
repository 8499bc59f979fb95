"""Wheels for another machine; tests that need a package registry are skipped without one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

from testbed.boards.deploy import bundle
from testbed.boards.deploy.bundle import TORCH, Target, requirements, resolve
from testbed.cli import main as cli
from testbed.errors import CapabilityError, InputError


def or_skip(ask: Callable[[], list[str]]) -> list[str]:
    """What a registry answers; a test that has none is skipped, with the reason."""
    try:
        return ask()
    except CapabilityError as error:
        pytest.skip(str(error))


def package(requirement: str) -> str:
    return canonicalize_name(Requirement(requirement).name)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle.build_project(tmp_path_factory.mktemp("project"))


def test_the_node_resolves_to_wheels_for_aarch64(project: Path) -> None:
    wanted = requirements(project, bundle.EXTRAS)
    assert {package(need) for need in wanted} == {
        "torch", "transformers", "safetensors", "pillow", "numpy", "paho-mqtt", "msgpack", "msgspec",
        "pydantic", "smbus2",
    }, "the node's extras and no other's"  # fmt: skip
    with ZipFile(project) as file:
        names = set(file.namelist())
    assert {"nodes/agent.py", "nodes/board/service.py", "nodes/models/compact/config.json"} <= names
    others = [need for need in wanted if not need.startswith("torch")]
    pins = or_skip(lambda: resolve([*others, TORCH], Target("aarch64", "3.10")))
    found = {package(pin): pin for pin in pins}
    assert {package(need) for need in wanted} <= set(found)
    assert not [name for name in found if name.startswith(("nvidia", "cuda", "triton"))], "a server's CUDA"
    assert "exceptiongroup" in found, "asked as Python 3.10 would: later ones have it themselves"


def test_a_bundle_holds_compiled_wheels_for_the_board_and_says_what_it_is_made_of(
    tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle, "build_project", lambda folder: Path(shutil.copy(project, folder)))
    monkeypatch.setattr(bundle, "requirements", lambda wheel, extras: ["msgpack>=1,<2"])
    torch = tmp_path / "torch-2.5.0a0+nv24.08-cp311-cp311-linux_aarch64.whl"
    about = torch.name.partition("-cp")[0] + ".dist-info"
    with ZipFile(torch, "w") as file:  # stands for NVIDIA's own, which no registry has
        metadata = "Metadata-Version: 2.1\nName: torch\nVersion: 2.5.0a0+nv24.08\n"
        file.writestr(f"{about}/METADATA", metadata)
        file.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nTag: cp311-cp311-linux_aarch64\n")
        file.writestr(f"{about}/RECORD", "")
    out = tmp_path / "bundle"
    wheels = or_skip(
        lambda: [p.name for p in bundle.make_bundle(out, Target("aarch64", "3.11"), torch=str(torch))]
    )
    assert [parse_wheel_filename(name)[0] for name in wheels] == ["msgpack", "spaceverse-testbed", "torch"]
    assert "cp311" in wheels[0] and wheels[0].endswith("aarch64.whl")
    assert set(bundle.read_manifest(out)) == set(wheels)
    manifest = json.loads((out / bundle.MANIFEST).read_text())
    assert (manifest["architecture"], manifest["python"]) == ("aarch64", "3.11")
    (out / wheels[0]).write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"msgpack.* was changed or removed"):
        bundle.read_manifest(out)


def test_a_second_bundle_in_the_same_folder_replaces_the_first(
    tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle, "build_project", lambda folder: Path(shutil.copy(project, folder)))
    monkeypatch.setattr(bundle, "requirements", lambda wheel, extras: ["msgpack>=1,<2"])
    (tmp_path / "kept-1-py3-none-any.whl").write_bytes(b"somebody's own")
    for python in ("3.10", "3.11"):
        target = Target("aarch64", python)
        or_skip(lambda target=target: bundle.make_bundle(tmp_path, target, torch="typing-extensions"))  # type: ignore[misc]
        tag = f"cp{python.replace('.', '')}"
        assert [f"-{tag}-" in name for name in bundle.read_manifest(tmp_path)].count(True) == 1
        there = {path.name for path in tmp_path.iterdir()} - {bundle.MANIFEST, "kept-1-py3-none-any.whl"}
        assert there == set(bundle.read_manifest(tmp_path))
        assert len(there) == 3
    assert (tmp_path / "kept-1-py3-none-any.whl").exists()


def test_what_no_registry_has_is_said_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot obtain .* aarch64, Python 3\.11: ") as error:
        or_skip(lambda: resolve(["msgpack>=99"], Target("aarch64", "3.11")))
    assert "msgpack" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--arch", "sparc"], "sparc"),
        (["--python", "2.7"], "2.7"),
        (["--python", "3.9"], "3.9"),
    ],
)
def test_a_board_that_cannot_be_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    assert cli.main(["board", "bundle", *arguments, "-o", str(tmp_path / "b")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert expected in line and not (tmp_path / "b").exists()


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a bundle"):
        bundle.read_manifest(tmp_path)
    (tmp_path / bundle.MANIFEST).write_text(json.dumps({"files": {"../../etc/passwd": "0"}}))
    with pytest.raises(InputError, match="was changed or removed"):
        bundle.read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["profile"], "--local"),
        (["profile", "board-1", "--local"], "--local"),
        (["profile", "--local", "--output", "/nowhere/p.json"], "/nowhere"),
        (["profile", "board-1", "--boards", "/nowhere.toml"], "/nowhere.toml"),
        (["deploy", "board-1", "--boards", "/nowhere.toml"], "/nowhere.toml"),
    ],
)
def test_commands_over_ssh_refuse_what_cannot_be_in_a_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    assert cli.main(["board", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert expected in line
