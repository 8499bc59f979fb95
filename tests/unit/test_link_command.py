"""tooling/link-command makes, moves and removes its own link, and leaves everything else alone."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support import ROOT


def link_command(link: Path, *arguments: str | Path) -> str:
    command = [ROOT / "tooling/link-command", *arguments]
    environment = {**os.environ, "LINK": str(link)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stderr


def checkout(folder: Path) -> Path:
    """Return the command of a checkout."""
    (folder / "testbed/cli").mkdir(parents=True)
    (folder / ".venv/bin").mkdir(parents=True)
    command = folder / ".venv/bin/spaceverse"
    command.touch()
    return command


def test_a_link_is_made_moved_to_another_checkout_and_removed(tmp_path: Path) -> None:
    link, first, second = tmp_path / "spaceverse", checkout(tmp_path / "a"), checkout(tmp_path / "b")
    assert link_command(link, first) == ""
    assert link.readlink() == first
    assert link_command(link, second) == ""
    assert link.readlink() == second
    second.unlink()  # a checkout that was deleted
    link_command(link, first)
    assert link.readlink() == first
    link_command(link, "--remove", second)
    assert link.is_symlink()
    link_command(link, "--remove", first)
    assert not link.is_symlink()


@pytest.mark.parametrize("kind", ["link", "dangling link", "its own .venv", "file", "folder"])
def test_what_is_not_ours_stays(kind: str, tmp_path: Path) -> None:
    link, own = tmp_path / "spaceverse", checkout(tmp_path / "a")
    other = tmp_path / "other" / (".venv/bin/spaceverse" if kind == "its own .venv" else "program")
    if kind == "file":
        link.write_text("#!/bin/sh\n")
    elif kind == "folder":
        link.mkdir()
    else:
        other.parent.mkdir(parents=True)
        if kind != "dangling link":
            other.touch()
        link.symlink_to(other)
    before = link.lstat()
    assert "is not ours" in link_command(link, own)
    link_command(link, "--remove", own)
    assert link.lstat().st_ino == before.st_ino
    if link.is_symlink():
        assert link.readlink() == other
