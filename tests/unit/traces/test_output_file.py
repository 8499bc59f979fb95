"""Both writers of files: links are followed, devices and pipes stay, what cannot be written is said early."""

from __future__ import annotations

import os
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from nodes.contract import files
from traces import output_file
from traces.errors import OutputFileError

Replacing = Callable[[Path], AbstractContextManager[Path]]
WRITERS = pytest.mark.parametrize("replacing", [output_file.replacing, files.replacing])
CHECKS = pytest.mark.parametrize("check", [output_file.check_output, files.check_output])


def write(replacing: Replacing, path: Path, text: str = "new") -> None:
    with replacing(path) as part:
        part.write_text(text)


@WRITERS
@pytest.mark.parametrize("absolute", [True, False])
def test_the_file_that_a_link_leads_to_is_replaced(
    replacing: Replacing, absolute: bool, tmp_path: Path
) -> None:
    (tmp_path / "real").mkdir()
    target, link = tmp_path / "real/target.csv", tmp_path / "link.csv"
    target.write_text("old")
    link.symlink_to(target if absolute else "real/target.csv")
    write(replacing, link)
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert {path.name for path in tmp_path.rglob("*")} == {"real", "target.csv", "link.csv"}


@WRITERS
def test_a_link_to_no_file_gets_one(replacing: Replacing, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("target")
    write(replacing, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "new"


@WRITERS
def test_a_pipe_is_written_to_and_stays(replacing: Replacing, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_text()), daemon=True)
    reader.start()
    write(replacing, tmp_path / "pipe")
    reader.join(10)
    assert read == ["new"]
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


@WRITERS
def test_a_terminal_is_written_to_and_stays(replacing: Replacing, tmp_path: Path) -> None:
    leader, follower = os.openpty()
    (tmp_path / "link").symlink_to(os.ttyname(follower))
    write(replacing, tmp_path / "link")
    assert os.read(leader, 10) == b"new"
    assert stat.S_ISCHR((tmp_path / "link").stat().st_mode)
    assert (tmp_path / "link").is_symlink()
    os.close(leader)
    os.close(follower)


@WRITERS
@pytest.mark.skipif(os.geteuid() != 0, reason="device nodes are made by root only")
def test_a_device_node_stays(replacing: Replacing, tmp_path: Path) -> None:
    node = tmp_path / "null"
    try:
        os.mknod(node, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("this container may not make device nodes")
    write(replacing, node)
    assert stat.S_ISCHR(node.stat().st_mode)
    assert [*tmp_path.iterdir()] == [node]


@pytest.fixture
def unwritable(tmp_path: Path) -> Iterator[dict[str, Path]]:
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        yield {
            "a folder": tmp_path / "folder",
            "not a regular file": tmp_path / "socket",
            "no folder": tmp_path / "missing/file",
            "symbolic links": tmp_path / "loop",
        }


@WRITERS
def test_what_cannot_be_written_is_refused_before_the_block(
    replacing: Replacing, unwritable: dict[str, Path]
) -> None:
    for reason, path in unwritable.items():
        if reason == "no folder" and replacing is files.replacing:
            continue  # its programs make folders themselves; the check tells
        entered = False
        with pytest.raises((OSError, OutputFileError), match=reason), replacing(path):
            entered = True
        assert not entered


@CHECKS
def test_the_check_says_so_too_and_changes_nothing(
    check: Callable[[Path], None], unwritable: dict[str, Path], tmp_path: Path
) -> None:
    before = sorted(tmp_path.iterdir())
    for reason, path in unwritable.items():
        with pytest.raises((OSError, OutputFileError), match=reason):
            check(path)
    check(tmp_path / "new.csv")
    check(Path("-"))
    assert sorted(tmp_path.iterdir()) == before


@WRITERS
@pytest.mark.parametrize("name", ["-", "/dev/stdout"])
def test_a_minus_is_standard_output(
    replacing: Replacing, name: str, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    write(replacing, Path(name), "é")
    assert capfdbinary.readouterr().out == "é".encode()


def test_without_force_a_file_stays_but_a_device_needs_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    (tmp_path / "link").symlink_to("file")
    for name in ("file", "link"):
        with pytest.raises(OutputFileError, match="exists; add --force"):
            output_file.check_output(tmp_path / name, force=False)
    output_file.check_output("/dev/null", force=False)
