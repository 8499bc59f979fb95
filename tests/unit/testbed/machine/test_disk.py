"""The one line that says why a file cannot be written."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path

import pytest

from testbed.machine.disk import disk_problem


def failure(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_named_with_its_size(tmp_path: Path, number: int) -> None:
    text = disk_problem(tmp_path / "a/b", failure(number))
    disk = os.statvfs(tmp_path)
    assert text.startswith(f"{tmp_path}/a/b: {os.strerror(number)}: ")
    assert f"{disk.f_blocks * disk.f_frsize / 1e9:.1f} GB" in text
    mount = Path(text.rpartition(" on the disk at ")[2])
    assert os.path.ismount(mount) and tmp_path.resolve().is_relative_to(mount)


def test_limits_of_the_process_are_named_with_their_values(tmp_path: Path) -> None:
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    text = disk_problem(tmp_path / "f", failure(errno.EMFILE))
    assert text == f"{tmp_path}/f: Too many open files: this process may have {files} files open (ulimit -n)"
    assert "(ulimit -f)" in disk_problem(tmp_path / "f", failure(errno.EFBIG))


def test_a_removed_folder_is_told_from_a_missing_file(tmp_path: Path) -> None:
    assert disk_problem(tmp_path / "f", failure(errno.ENOENT)) == f"{tmp_path}/f: No such file or directory"
    assert disk_problem(tmp_path / "a/f", failure(errno.ENOENT)).endswith(": its folder was removed")


def test_a_read_only_disk_is_named() -> None:
    text = disk_problem(Path("/proc/version"), failure(errno.EROFS))
    assert text == "/proc/version: Read-only file system: the disk at /proc"
