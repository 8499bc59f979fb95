"""When a folder of results is kept, and whose it is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from testbed.errors import InputError, ScenarioError, TestbedError
from testbed.run.folder import RunFolder


@pytest.mark.parametrize(
    ("error", "writes", "kept"),
    [
        (ScenarioError("no such model"), None, False),
        (ScenarioError("no such model"), "scenario.json", False),
        (ScenarioError("it said so (log: ...)"), "logs/sat.log", True),
        (ScenarioError("--emulated needs root"), "results.json", True),
        (TestbedError("it broke"), None, True),
    ],
)
def test_a_folder_is_kept_once_something_can_be_read_in_it(
    tmp_path: Path, error: TestbedError, writes: str | None, kept: bool
) -> None:
    with pytest.raises(type(error)), RunFolder.new(tmp_path / "a/runs", "test") as folder:
        (folder.logs / "empty.log").touch()
        if writes is not None:
            (folder.path / writes).write_text("x")
        raise error
    assert folder.path.exists() is kept
    assert (tmp_path / "a").exists() is kept
    assert tmp_path.exists()


def test_parents_in_which_somebody_else_has_put_something_stay(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError), RunFolder.new(tmp_path / "a/runs", "test"):
        (tmp_path / "a/other").touch()
        raise ScenarioError("no")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["other"]


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for parent in (tmp_path / "file", tmp_path / "file/runs", tmp_path / ("x" * 300)):
        with pytest.raises(InputError, match="choose another --output"):
            RunFolder.create(parent, "test")


@pytest.mark.root
def test_it_is_the_users_who_called_sudo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_UID", "65534")
    monkeypatch.setenv("SUDO_GID", "65534")
    with RunFolder.new(tmp_path / "runs", "test") as folder:
        folder.scenario.write_text("{}")
    for path in (tmp_path / "runs", folder.path, folder.logs, folder.scenario):
        assert (path.stat().st_uid, path.stat().st_gid) == (65534, 65534)
    assert tmp_path.stat().st_uid == os.geteuid()
