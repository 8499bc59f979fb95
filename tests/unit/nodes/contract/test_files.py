"""Atomic replacement of files: complete or not at all, with several writers, private from the start."""

from __future__ import annotations

import os
import socket
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nodes.contract.files import replacing, tail, write_atomically


def test_bytes_and_text_are_written_as_they_are(tmp_path: Path) -> None:
    write_atomically(tmp_path / "data", b"\x00\xff")
    write_atomically(tmp_path / "text", "Grüße\r\n")
    assert (tmp_path / "data").read_bytes() == b"\x00\xff"
    assert (tmp_path / "text").read_bytes() == "Grüße\r\n".encode()


@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize("private", [False, True])
@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, durable: bool, private: bool, error: type[BaseException]
) -> None:
    target = tmp_path / "target"
    target.write_text("old")
    with pytest.raises(error), replacing(target, durable=durable, private=private) as temporary:
        temporary.write_text("half of the n")
        raise error
    assert target.read_text() == "old"
    assert [*tmp_path.iterdir()] == [target]


def test_a_rename_that_fails_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        write_atomically(tmp_path / "folder", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_block_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "target"):
        pass
    assert not [*tmp_path.iterdir()]


def test_the_old_content_is_there_until_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("old")
    with replacing(target) as temporary:
        assert temporary.parent == target.parent
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert [*tmp_path.iterdir()] == [target]


def test_a_private_file_is_its_owners_from_the_first_moment(tmp_path: Path) -> None:
    target = tmp_path / "secret"
    target.write_text("public")
    target.chmod(0o644)
    umask = os.umask(0)
    try:
        with replacing(target, private=True) as temporary:
            assert stat.S_IMODE(temporary.stat().st_mode) == 0o600
            temporary.write_text("password")
    finally:
        os.umask(umask)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert target.read_text() == "password"


def test_a_public_file_has_the_mode_of_the_umask(tmp_path: Path) -> None:
    umask = os.umask(0o027)
    try:
        write_atomically(tmp_path / "target", "text")
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "target").stat().st_mode) == 0o640


def test_several_writers_of_one_file_do_not_mix(tmp_path: Path) -> None:
    target = tmp_path / "target"
    contents = [bytes([number]) * 100_000 for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(lambda content: write_atomically(target, content), contents * 5):
            assert target.read_bytes() in contents
    assert [*tmp_path.iterdir()] == [target]


def test_durable_syncs_the_file_before_its_name_and_the_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    target = tmp_path / "target"

    def fsync(descriptor: int) -> None:
        kind = "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        steps.append(f"{kind}, {'named' if target.exists() else 'unnamed'}")

    monkeypatch.setattr(os, "fsync", fsync)
    write_atomically(target, b"data", durable=True)
    assert steps == ["file, unnamed", "folder, named"]
    write_atomically(target, b"data")
    assert len(steps) == 2


def test_a_socket_is_no_file_to_replace(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(tmp_path / "socket"))
        with pytest.raises(OSError, match="not a regular file"):
            write_atomically(tmp_path / "socket", b"x")
    assert (tmp_path / "socket").is_socket()


def test_the_end_of_a_file_of_any_size_is_read_quickly(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"first\nlast\n")
    assert tail(tmp_path / "log", 5) == b"last\n"
    assert tail(tmp_path / "log", 100) == b"first\nlast\n"
    assert tail(tmp_path / "log", 100, 6) == b"last\n"
    assert tail(tmp_path / "log", 3, 6) == b"st\n"
    assert tail(tmp_path / "log", 100, 1000) == b""
    os.truncate(tmp_path / "log", 1 << 40)  # of holes: reading it whole would take a terabyte
    assert tail(tmp_path / "log", 4) == bytes(4)
