"""When a folder of results is kept, and whose it is."""

from __future__ import annotations

import os
import resource
import shutil
from pathlib import Path
from typing import Any

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


def swapped(folder: RunFolder, target: Path) -> Path:
    """Move a run's folder away and put a link to another one in its place; return where it is now."""
    away = folder.path.rename(folder.path.with_name("away"))
    folder.path.symlink_to(target)
    return away


@pytest.fixture
def others(tmp_path: Path) -> Path:
    """A folder of somebody else's, with files of the names of a run's."""
    (tmp_path / "others/logs").mkdir(parents=True)
    for name in ("results.json", "report.html", "secret", "logs/secret"):
        (tmp_path / "others" / name).write_text("theirs")
    return tmp_path / "others"


def test_a_folder_that_was_replaced_leads_nobody_to_anothers_files(tmp_path: Path, others: Path) -> None:
    with RunFolder.new(tmp_path / "runs", "test") as folder:
        folder.check_place()
        away = swapped(folder, others)
        with pytest.raises(TestbedError, match="was moved, removed or replaced"):
            folder.check_place()
        folder.write_json(folder.results, {"ours": 1})
        folder.write_whole(folder.report, "ours")
        assert (away / "results.json").read_text() == '{\n  "ours": 1\n}\n'
    assert {path.read_text() for path in others.rglob("*") if path.is_file()} == {"theirs"}
    assert sorted(path.name for path in others.rglob("*")) == [
        "logs",
        "report.html",
        "results.json",
        *["secret"] * 2,
    ]


def test_removing_a_folder_that_was_replaced_removes_nothing_of_others(tmp_path: Path, others: Path) -> None:
    with pytest.raises(ScenarioError), RunFolder.new(tmp_path / "runs", "test") as folder:
        (folder.path / "link").symlink_to(others)
        away = swapped(folder, others)
        raise ScenarioError("no")
    assert len(list(others.rglob("*"))) == 5
    assert list(away.iterdir()) == [], "what the run had made is gone"


@pytest.mark.parametrize("what", ["link", "folder"])
def test_a_file_that_is_a_link_is_replaced_and_not_followed(tmp_path: Path, others: Path, what: str) -> None:
    with RunFolder.new(tmp_path / "runs", "test") as folder:
        folder.results.symlink_to(others / "results.json" if what == "link" else others)
        folder.write_whole(folder.results, "ours")
        assert folder.results.read_text() == "ours" and not folder.results.is_symlink()
    assert (others / "results.json").read_text() == "theirs"


def test_a_folder_that_is_gone_is_one_line(tmp_path: Path) -> None:
    with RunFolder.new(tmp_path / "runs", "test") as folder:
        shutil.rmtree(folder.path)
        with pytest.raises(TestbedError, match="was moved, removed or replaced"):
            folder.check_place()
        with pytest.raises(TestbedError, match=r"cannot write .*results\.json"):
            folder.write_whole(folder.results, "ours")


def test_a_folder_is_not_held_for_ever(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        with RunFolder.new(tmp_path / "runs", "test"):
            pass
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.root
def test_what_root_hands_over_is_what_it_made(
    tmp_path: Path, others: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_UID", "65534")
    monkeypatch.setenv("SUDO_GID", "65534")
    with RunFolder.new(tmp_path / "new/runs", "test") as folder:
        (folder.logs / "a.log").write_text("ours")
        (folder.logs / "link").symlink_to(others / "secret")
        (folder.path / "folder").symlink_to(others)
        away = swapped(folder, others)
        (tmp_path / "new").rename(tmp_path / "moved")
        (tmp_path / "new").symlink_to(others)
    away = tmp_path / "moved/runs" / away.name
    assert {path.stat().st_uid for path in (others, *others.rglob("*"))} == {0}
    assert {path.lstat().st_uid for path in (away, *away.rglob("*"))} == {65534}
    assert (tmp_path / "moved").stat().st_uid == 0, "it is no longer where it was made"


@pytest.mark.parametrize("by", ["a link", "a folder"])
def test_a_folder_that_is_replaced_as_it_is_made_is_not_taken(
    tmp_path: Path, others: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    """Somebody waits for the folder, and is quicker than the run that opens it."""
    make, replaced, empty = Path.mkdir, [], tmp_path / "empty"
    empty.mkdir()

    def replacing(path: Path, *arguments: int, **options: Any) -> None:
        make(path, *arguments, **options)
        if "-test" in path.name and not replaced:
            replaced.append(path.rename(path.with_name("away")))
            if by == "a link":
                path.symlink_to(empty)
            else:
                others.rename(path)

    monkeypatch.setattr(Path, "mkdir", replacing)
    try:
        folder = RunFolder.create(tmp_path / "runs", "test")
    except InputError as error:
        assert "choose another --output" in str(error)
    else:
        assert folder.path.name.endswith("-test.1"), "another name"
    theirs = next(tmp_path.glob("runs/*-test"))
    assert len(list(theirs.iterdir())) == (0 if by == "a link" else 4), "nothing was made in it"


@pytest.mark.root
def test_a_parent_that_another_folder_replaced_is_not_handed_over(
    tmp_path: Path, others: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_UID", "65534")
    monkeypatch.setenv("SUDO_GID", "65534")
    with RunFolder.new(tmp_path / "new/runs", "test"):
        (tmp_path / "new").rename(tmp_path / "moved")
        others.rename(tmp_path / "new")
    assert {path.stat().st_uid for path in (tmp_path / "new", *(tmp_path / "new").rglob("*"))} == {0}


@pytest.mark.root
def test_it_is_the_users_who_called_sudo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_UID", "65534")
    monkeypatch.setenv("SUDO_GID", "65534")
    with RunFolder.new(tmp_path / "runs", "test") as folder:
        folder.scenario.write_text("{}")
    for path in (tmp_path / "runs", folder.path, folder.logs, folder.scenario):
        assert (path.stat().st_uid, path.stat().st_gid) == (65534, 65534)
    assert tmp_path.stat().st_uid == os.geteuid()


def test_outcomes_go_elsewhere_and_that_is_said_if_the_folder_was_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    with RunFolder.new(tmp_path / "runs", "test") as folder:
        folder.check_room()
        assert folder.trouble is None
        folder.keep_json(folder.fidelity, [1])
        assert folder.fidelity.read_text() == "[\n  1\n]\n"
        folder.remove()
        folder.keep_json(folder.results, {"a": 1})
        folder.keep(folder.report, "<html>")
    (made,) = (tmp_path / "temporary").iterdir()
    assert folder.results == made / "results.json" and folder.results.read_text() == '{\n  "a": 1\n}\n'
    assert folder.report.read_text() == "<html>"
    assert folder.trouble is not None
    assert folder.trouble.endswith(f"results.json: No such file or directory: its folder was removed; "
                                   f"the results of this run are in {made}")  # fmt: skip


def test_a_folder_without_room_is_noticed_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with RunFolder.new(tmp_path / "runs", "test") as folder:
        folder.remove()
        folder.check_room()
        assert folder.elsewhere is not None and folder.results.parent == folder.elsewhere
        folder.check_room()
        assert not list(folder.elsewhere.iterdir())


def test_an_input_is_not_written_elsewhere(tmp_path: Path) -> None:
    with RunFolder.new(tmp_path / "runs", "test") as folder:
        folder.remove()
        with pytest.raises(TestbedError, match=r"scenario\.json: No such file or directory"):
            folder.write_whole(folder.scenario, "{}")
        assert folder.elsewhere is None


def test_a_file_above_the_limit_of_the_process_is_left_out_and_that_is_said(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with RunFolder.new(tmp_path / "runs", "test") as folder:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
        try:
            folder.check_room()
            folder.keep(folder.report, bytes(20_000))
            folder.keep_json(folder.results, {"a": 1})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert folder.elsewhere is None and folder.results.exists() and not folder.report.exists()
    assert folder.trouble == (
        f"{folder.report}: File too large: the largest allowed file has 10000 bytes (ulimit -f); "
        "it was not written"
    )
