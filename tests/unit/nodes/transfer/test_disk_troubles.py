"""Removed folders, strays, damaged records, and disks that refuse: nothing is lost without a word."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodes.transfer.inbox import Inbox
from nodes.transfer.messages import Hello
from nodes.transfer.outbox import Outbox, OutboxError, TransientOutboxError
from tests.support.nodes.pair import SIZE_BYTES, Pair


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path)


def half_way(pair: Pair) -> None:
    taken = pair.take()
    for reply in pair.give(taken[: len(taken) // 2]):
        pair.sender.handle(reply, pair.now_s)


@contextlib.contextmanager
def limited(kind: int, soft: int) -> Iterator[None]:
    """Lower a limit of this process for a while."""
    before = resource.getrlimit(kind)
    resource.setrlimit(kind, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(kind, before)


def no_descriptor() -> contextlib.AbstractContextManager[None]:
    """Make each further open() fail with EMFILE."""
    return limited(resource.RLIMIT_NOFILE, 3)


@pytest.mark.parametrize("what", ["inbox", "item", "files", "part", "digests", "cut part"])
def test_what_is_removed_from_the_inbox_half_way_is_sent_again(pair: Pair, what: str) -> None:
    content = pair.add()
    half_way(pair)
    folder = pair.item_folder()
    if what == "inbox":
        shutil.rmtree(pair.folder / "inbox")
    elif what == "item":
        shutil.rmtree(folder)
    elif what == "files":
        for path in folder.iterdir():
            path.unlink()
    elif what == "cut part":
        os.truncate(folder / "part", 5000)
    else:
        (folder / what).unlink()
    pair.run()
    assert [item.data_path.read_bytes() for item in pair.completed] == [content]
    assert Inbox(pair.folder / "inbox").unanswered(), "a restarted station does not find it"
    if what in ("inbox", "item", "files"):
        assert "removed by another program" in pair.of("inbox_trouble")[0]["reason"]


@pytest.mark.parametrize("cut", [True, False])
def test_complete_bytes_that_were_cut_or_removed_are_requested_again(pair: Pair, cut: bool) -> None:
    content = pair.add()
    while not pair.completed:  # the reply `done` is lost
        replies = pair.give(pair.take())
        pair.now_s += 3.0
        if not pair.completed:
            for reply in replies:
                pair.sender.handle(reply, pair.now_s)
    (data,) = (pair.folder / "inbox").glob("*/*/data")
    if cut:
        os.truncate(data, 100)
    else:
        data.unlink()
    pair.sender.handle(Hello(), pair.now_s)
    pair.run()
    assert data.read_bytes() == content
    (trouble,) = pair.of("inbox_trouble")
    assert trouble["frame"] == "dam" and "requested again" in trouble["reason"]


def test_what_was_answered_and_removed_is_not_answered_again(pair: Pair) -> None:
    pair.add()
    taken = pair.take()
    while not pair.completed:
        for reply in pair.give(taken):
            pair.sender.handle(reply, pair.now_s)
        taken += pair.take()
    claim = pair.completed[0].claim()
    assert claim is not None
    claim.answered()
    shutil.rmtree(pair.folder / "inbox")
    pair.give(taken)
    pair.give(taken)
    assert len(pair.completed) == 1 and pair.inbox.unanswered() == []


def test_file_size_limit_at_the_ground_delays_and_is_told_for_each_item(pair: Pair) -> None:
    contents = [pair.add(frame) for frame in ("one", "two")]
    with limited(resource.RLIMIT_FSIZE, 20_000):
        for _ in range(5):
            pair.turn()
    assert pair.completed == [] and pair.outbox.depth()[0] == 2
    told = {e["frame"]: e["reason"] for e in pair.of("inbox_full")}
    assert told.keys() == {"one", "two"} and all("File too large" in reason for reason in told.values())
    assert len(pair.of("inbox_full")) == 2, "a flood of reports"
    pair.run()
    assert sorted(item.data_path.read_bytes() for item in pair.completed) == sorted(contents)


@pytest.mark.parametrize("restart", [False, True])
def test_station_without_descriptors_asks_to_wait(pair: Pair, restart: bool) -> None:
    content = pair.add()
    half_way(pair)
    if restart:
        pair.start_station()
    taken = pair.take()
    with no_descriptor():
        replies = pair.give(taken)
    assert replies, "nothing is said"
    for reply in replies:
        pair.sender.handle(reply, pair.now_s)
    pair.run()
    assert [item.data_path.read_bytes() for item in pair.completed] == [content]


def test_satellite_without_descriptors_sends_later(pair: Pair) -> None:
    content = pair.add()
    pair.turn()
    with no_descriptor():
        pair.turn()
        with pytest.raises(TransientOutboxError, match="Too many open files"):
            pair.outbox.add_image("later", b"bytes" * 2000, {})
        with pytest.raises(TransientOutboxError):
            pair.outbox.add_answer("later", b"yes", {})
    assert pair.of("send_refused") == [] and pair.of("send_waits")
    assert not pair.outbox.holds("later")
    assert pair.outbox.add_answer("later", b"yes", {})
    pair.run()
    assert content in [item.data_path.read_bytes() for item in pair.completed]
    assert pair.of("send_refused") == [] and len(pair.completed) == 2


def test_image_that_is_too_large_for_the_process_is_refused_at_once(pair: Pair) -> None:
    with limited(resource.RLIMIT_FSIZE, 20_000), pytest.raises(OutboxError, match="File too large") as caught:
        pair.outbox.add_image("dam", bytes(SIZE_BYTES), {})
    assert not isinstance(caught.value, TransientOutboxError)


def test_release_that_cannot_be_noted_is_noted_later(pair: Pair) -> None:
    pair.add()
    (item,) = pair.outbox.pending(1)
    released = pair.folder / "outbox" / "released"
    released.rename(pair.folder / "away")  # the rename out of pending/ fails
    assert pair.outbox.release(item)
    assert len(pair.of("outbox_trouble")) == 1
    pair.start_satellite()
    assert pair.outbox.holds("dam"), "its frame would be taken again, and answered again"
    (item,) = pair.outbox.pending(1)
    shutil.rmtree(released)
    pair.outbox.release(item)
    (pair.folder / "away").rename(released)
    pair.outbox.settle_again()
    assert len(list(released.iterdir())) == 1 and not list((pair.folder / "outbox" / "pending").iterdir())


@pytest.mark.parametrize("damage", [b"", b"\0" * 100, b"flip"])
@pytest.mark.parametrize("outcome", ["released", "refused"])
def test_damaged_record_does_not_make_its_frame_be_taken_again(
    pair: Pair, damage: bytes, outcome: str
) -> None:
    pair.add()
    (item,) = pair.outbox.pending(1)
    getattr(pair.outbox, outcome[:-1])(item)
    (record,) = (pair.folder / "outbox" / outcome).iterdir()
    content = bytearray(record.read_bytes())
    content[20] ^= 0xFF
    record.write_bytes(content if damage == b"flip" else damage)
    pair.start_satellite()
    assert pair.outbox.holds("dam")


@pytest.mark.parametrize("begun", [True, False])
def test_damaged_manifest_that_waits_is_told(pair: Pair, begun: bool) -> None:
    pair.add()
    if begun:
        pair.take()
    (manifest,) = (pair.folder / "outbox" / "pending").glob("*/manifest")
    content = bytearray(manifest.read_bytes())
    content[content.index(b"?")] ^= 1  # the prompt: still a manifest, but another one
    manifest.write_bytes(content)
    pair.start_satellite()
    assert pair.outbox.pending(1) == []
    (trouble,) = pair.of("outbox_trouble")
    assert "damaged" in trouble["reason"]
    assert pair.outbox.holds("dam") == begun, "the ground may have it, and answer it"


def test_records_of_older_versions_are_read(pair: Pair) -> None:
    pair.add("old")
    pair.add("older")
    pending = pair.folder / "outbox" / "pending"
    for folder in pending.iterdir():
        path = folder / "manifest"
        path.write_bytes(path.read_bytes()[:-8])
        folder.rename(pending / folder.name[: 12 + 1 + 32])
    pair.start_satellite()
    assert [item.manifest.frame for item in pair.outbox.pending(9)] == ["old", "older"]
    pair.outbox.release(pair.outbox.pending(1)[0])
    released = pair.folder / "outbox" / "released"
    (record,) = released.iterdir()
    record.rename(released / record.name[:32])
    pair.start_satellite()
    assert pair.outbox.holds("old") and pair.outbox.holds("older")
    assert pair.of("outbox_trouble") == []
    pair.run()


def test_strays_in_the_outbox_are_ignored_and_told_once(pair: Pair) -> None:
    pair.add()
    outbox = pair.folder / "outbox"
    (item,) = (outbox / "pending").iterdir()
    strays = [
        outbox / "pending" / f"{item.name} (copy)",
        outbox / "pending" / f"000000000009{item.name[12:]}",
    ]
    for copy in strays:
        shutil.copytree(item, copy)
    for name in ("pending/notes", "released/folder"):
        (outbox / name).mkdir()
        strays.append(outbox / name)
    for name in ("pending/.DS_Store", "released/x.txt", "refused/~"):
        (outbox / name).write_bytes(b"x")
        strays.append(outbox / name)
    pair.start_satellite()
    assert len(pair.outbox.pending(9)) == 1
    told = [e["reason"] for e in pair.of("outbox_trouble")]
    assert len(told) == len(strays) and all("ignored" in reason for reason in told)
    pair.run()
    assert len(pair.completed) == 1
    assert all(stray.exists() for stray in strays), "what is not the outbox's own was deleted"


def test_strays_in_the_inbox_are_ignored_and_told_once(pair: Pair) -> None:
    pair.add()
    pair.run()
    inbox = pair.folder / "inbox"
    (item,) = pair.completed
    strays = [inbox / "sat" / "copy", inbox / "notes.txt", inbox / "sat" / "x", inbox / ".trash"]
    shutil.copytree(item.folder, strays[0])
    strays[1].write_text("x")
    strays[2].write_text("x")
    strays[3].mkdir()
    twin = inbox / "sat" / ("0" * 32)  # a name as items have it, with the manifest of another
    shutil.copytree(item.folder, twin)
    for _ in range(2):
        assert [found.folder for found in pair.inbox.unanswered()] == [item.folder]
        pair.inbox.expire(1e9)
        pair.inbox.look_around()
    told = [e["reason"] for e in pair.of("inbox_trouble")]
    assert sorted(reason.split()[0] for reason in told) == sorted(str(path) for path in [*strays, twin])
    assert all(path.exists() for path in [*strays, twin])


def test_ground_takes_one_message_of_a_frame(pair: Pair) -> None:
    first = pair.add()
    pair.run()
    shutil.rmtree(pair.folder / "outbox")  # the satellite loses its memory, and takes the frame again
    pair.start_satellite()
    assert pair.add() != first
    pair.run()
    assert [item.data_path.read_bytes() for item in pair.completed] == [first]
    (refused,) = pair.of("send_refused")
    assert "another message of this frame" in refused["reason"]


def test_ground_takes_a_second_message_if_the_first_never_came(pair: Pair) -> None:
    pair.add()
    half_way(pair)
    shutil.rmtree(pair.folder / "outbox")
    pair.start_satellite()
    second = pair.add()
    pair.run()
    assert [item.data_path.read_bytes() for item in pair.completed] == [second]


def test_removed_outbox_refuses_a_frame_at_once_with_its_path(tmp_path: Path) -> None:
    outbox, image = Outbox(tmp_path / "outbox", "sat", 4096), tmp_path / "image"
    image.write_bytes(bytes(9000))
    shutil.rmtree(tmp_path / "outbox")
    with pytest.raises(OutboxError, match=r"outbox/pending.*: No such file or directory") as raised:
        outbox.add_image("dam", image, {})
    assert not isinstance(raised.value, TransientOutboxError), "it would be tried in vain for a minute"
    assert outbox.depth() == (0, 0)
