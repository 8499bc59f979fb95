"""A damaged journal is named and kept; the changes of all others are undone."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from testbed.boards.machine_network import journal
from testbed.boards.machine_network.journal import MOST_BYTES, Change, Journal
from testbed.machine.process_identity import ProcessIdentity

DEAD = {**asdict(ProcessIdentity.this()), "start_ticks": 1}
HEADER = {"version": 1, "what": "board x", "owner": DEAD}


def lines_of(*records: Any) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def changed(number: int) -> Change:
    return {"kind": "mtu", "interface": f"nic{number}", "index": number}


class Undone(list[str]):
    """What was undone, in order; some changes raise as a damaged line makes them."""

    def __call__(self, change: Change) -> bool:
        if change["interface"] == "nic9":
            raise KeyError("before")
        self.append(change["interface"])
        return True


def _folder(path: Path) -> None:
    path.mkdir()


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _link(path: Path) -> None:
    path.with_name("target").write_bytes(lines_of(HEADER, changed(8)))
    path.symlink_to("target")


def _large(path: Path) -> None:
    path.touch()
    os.truncate(path, MOST_BYTES + 1)


HEADS: dict[str, bytes | Callable[[Path], None]] = {
    "no JSON": b"rubbish\n",
    "no UTF-8": b"\xff\xfe\n",
    "a number": b"7\n",
    "a list": b"[]\n",
    "nested": b"[" * 100_000 + b"\n",
    "zeros": bytes(4096) + b"\n",
    "another version": lines_of(HEADER | {"version": 2}),
    "no owner": lines_of({"version": 1, "what": "x"}),
    "owner of text": lines_of(HEADER | {"owner": "root"}),
    "owner of other types": lines_of(HEADER | {"owner": DEAD | {"pid": "1"}}),
    "owner without a field": lines_of(HEADER | {"owner": {"pid": 1}}),
    "a folder": _folder,
    "a pipe": _fifo,
    "a link": _link,
    "too large": _large,
}


@pytest.mark.parametrize("damage", HEADS)
@pytest.mark.parametrize("name", ["4194303-1-a.jsonl", "odd name.jsonl"])
def test_a_journal_whose_owner_is_unknown_is_kept_and_named(tmp_path: Path, damage: str, name: str) -> None:
    folder, undone, content = tmp_path / "journal", Undone(), HEADS[damage]
    folder.mkdir()
    for number in (1, 2):
        (folder / f"1-1-{number}.jsonl").write_bytes(lines_of(HEADER, changed(number)))
    if isinstance(content, bytes):
        (folder / name).write_bytes(content)
    else:
        content(folder / name)
    for _ in range(2):  # each time, until somebody has looked at it
        lines, well = journal.clean(undone, tmp_path)
        assert not well
        (line,) = (line for line in lines if str(folder / name) in line)
        assert "kept; see what it records, and remove it" in line and "\n" not in line
    assert sorted(undone) == ["nic1", "nic2"]
    assert [path.name for path in folder.glob("*.jsonl")] == [name]
    (found,) = journal.found_journals(tmp_path)
    assert found.problem is not None and found.changes == []


def test_lines_of_a_journal_that_cannot_be_read_cost_these_changes_alone(tmp_path: Path) -> None:
    folder, undone = tmp_path / "journal", Undone()
    folder.mkdir()
    bad = b'{"kind": 7}\nrubbish\n[]\n' + b"[" * 100_000 + b"\n"
    (folder / "1-1-a.jsonl").write_bytes(lines_of(HEADER, changed(1)) + bad + lines_of(changed(2)))
    (line,), well = journal.clean(undone, tmp_path)
    assert undone == ["nic2", "nic1"] and not well
    assert "2 changes undone; line 3, 4, 5, 6 of its journal is damaged, kept as " in line
    assert (folder / "1-1-a.damaged").exists()
    assert journal.clean(undone, tmp_path) == ([], True), "said once"


def test_a_change_that_nobody_can_undo_does_not_keep_the_others(tmp_path: Path) -> None:
    folder, undone = tmp_path / "journal", Undone()
    folder.mkdir()
    (folder / "1-1-a.jsonl").write_bytes(lines_of(HEADER, changed(1), changed(9), changed(2)))
    (folder / "1-1-b.jsonl").write_bytes(lines_of(HEADER, changed(3)))
    lines, well = journal.clean(undone, tmp_path)
    assert sorted(undone) == ["nic1", "nic2", "nic3"] and not well
    assert any("cannot undo mtu nic9: KeyError: 'before'" in line for line in lines)
    assert [path.name for path in folder.glob("*.jsonl")] == ["1-1-a.jsonl"], "tried again next time"


def test_a_damaged_journal_of_a_process_that_runs_is_left_alone(tmp_path: Path) -> None:
    mine = Journal("x", tmp_path).path
    mine.parent.mkdir()
    mine.write_bytes(b"rubbish\n")
    (line,), well = journal.clean(Undone(), tmp_path)
    assert well and line.endswith("still running, not touched") and mine.exists()
