"""Outbox and inbox on a full disk, a small tmpfs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nodes.transfer.flow_control import Window
from nodes.transfer.inbox import Inbox
from nodes.transfer.messages import Done, Have, Upward, Wait
from nodes.transfer.outbox import Outbox, TransientOutboxError
from nodes.transfer.receiver import Receiver
from nodes.transfer.sender import Sender
from tests.support.nodes.ends import Recorder

pytestmark = pytest.mark.root
CHUNK_BYTES = 64 * 1024
IMAGE_BYTES = 900_000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Two mebibytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Make the disk read-only for a while."""
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)


def image(folder: Path, name: str) -> Path:
    path = folder / name
    path.write_bytes(os.urandom(IMAGE_BYTES))
    return path


def payloads(outbox: Outbox) -> list[bytes]:
    sender = Sender(outbox, Window(1e9), Recorder())
    sender.connected(0.0, 0.0)
    taken = []
    while (payload := sender.next_payload(0.0)) is not None:
        taken.append(payload)
    return taken


def test_outbox_on_a_full_disk_drops_the_oldest_and_goes_on(tmp_path: Path, small_disk: Path) -> None:
    report = Recorder()
    outbox = Outbox(small_disk / "outbox", "sat", CHUNK_BYTES, report=report)
    for number in range(4):
        outbox.add_image(f"frame {number}", image(tmp_path, "image"), {})
    assert [e["frame"] for e in report.of("dropped")] == ["frame 0", "frame 1"]
    assert "No space left" in report.of("dropped")[0]["reason"]
    assert [item.manifest.frame for item in outbox.pending(9)] == ["frame 2", "frame 3"]
    outbox.add_answer("answer", b"yes", {})
    filler = small_disk / "filler"
    for item in outbox.pending(9)[1:]:
        outbox.refuse(item)
    with pytest.raises(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    with pytest.raises(TransientOutboxError, match="No space left on its disk but a reserve"):
        outbox.add_image("too much", image(tmp_path, "image"), {})
    assert [item.manifest.frame for item in outbox.pending(9)] == ["answer"]
    filler.unlink()
    outbox.add_image("again", image(tmp_path, "image"), {})
    assert Outbox(small_disk / "outbox", "sat", CHUNK_BYTES).holds("again")


def test_images_leave_a_reserve_that_answers_may_use(tmp_path: Path, small_disk: Path) -> None:
    report = Recorder()
    outbox = Outbox(small_disk / "outbox", "sat", CHUNK_BYTES, report=report)
    inbox = Inbox(small_disk / "inbox", report=report)
    receiver = Receiver(inbox, report, lambda item: None)
    left_bytes = IMAGE_BYTES + 40_000
    disk = os.statvfs(small_disk)
    (small_disk / "filler").write_bytes(bytes(disk.f_bavail * disk.f_frsize - left_bytes))
    with pytest.raises(
        TransientOutboxError, match=r"a reserve of 104857 bytes: 9\d\d\d\d\d of 2097152 are free"
    ):
        outbox.add_image("dam", image(tmp_path, "image"), {})
    assert outbox.add_answer("answer", b"yes", {})
    elsewhere = Outbox(tmp_path / "outbox", "sat", CHUNK_BYTES)
    elsewhere.add_image("dam", image(tmp_path, "image"), {})
    receiver.handle("sat", payloads(elsewhere)[0], 0.0)
    ((_, reply),) = receiver.replies()
    assert isinstance(reply, Wait) and "a reserve of 104857 bytes" in reply.reason
    assert not list((small_disk / "inbox").rglob("part"))
    (small_disk / "filler").unlink()
    assert outbox.add_image("dam", image(tmp_path, "image"), {})


def test_inbox_on_a_full_disk_asks_to_wait_and_recovers(tmp_path: Path, small_disk: Path) -> None:
    report = Recorder()
    outbox = Outbox(tmp_path / "outbox", "sat", CHUNK_BYTES)
    inbox = Inbox(small_disk / "inbox", report=report)
    receiver = Receiver(inbox, report, lambda item: None)

    def give(payload: bytes) -> Upward:
        receiver.handle("sat", payload, 0.0)
        ((_, reply),) = receiver.replies()
        return reply

    filler = small_disk / "filler"
    outbox.add_image("dam", image(tmp_path, "image"), {})
    taken = payloads(outbox)
    replies = [give(taken[0])]
    filler.write_bytes(bytes(1_500_000))
    replies += [give(payload) for payload in taken[1:]]
    assert isinstance(replies[0], Have) and isinstance(replies[-1], Wait)
    (full,) = report.of("inbox_full")
    assert "No space left" in full["reason"]
    filler.unlink()
    replies = [give(payload) for payload in taken]
    assert isinstance(replies[-1], Done)
    assert [e["sha256_ok"] for e in report.of("received")] == [True]
    (data,) = (small_disk / "inbox").glob("*/*/data")
    assert data.read_bytes() == (tmp_path / "image").read_bytes()
    inbox.close()


def test_disk_that_is_read_only_for_a_while_costs_a_repeat(tmp_path: Path, small_disk: Path) -> None:
    report = Recorder()
    outbox = Outbox(small_disk / "outbox", "sat", CHUNK_BYTES, report=report)
    inbox = Inbox(small_disk / "inbox", report=report)
    completed: list[bytes] = []
    receiver = Receiver(inbox, report, lambda item: completed.append(item.data_path.read_bytes()))
    content = os.urandom(400_000)
    outbox.add_image("dam", content, {})
    taken = payloads(outbox)

    def give(some: list[bytes]) -> list[Upward]:
        for payload in some:
            receiver.handle("sat", payload, 0.0)
        return [reply for _, reply in receiver.replies()]

    give(taken[:3])
    inbox.close()
    with read_only(small_disk):
        (reply,) = give(taken)
        assert isinstance(reply, Wait) and "Read-only" in reply.reason
        with pytest.raises(TransientOutboxError, match="Read-only"):
            outbox.add_answer("later", b"yes", {})
        (item,) = outbox.pending(1)
        assert outbox.release(item), "settled in memory"
        assert "Read-only" in report.of("outbox_trouble")[0]["reason"]
    assert isinstance(give(taken)[-1], Done) and completed == [content]
    outbox.settle_again()
    again = Outbox(small_disk / "outbox", "sat", CHUNK_BYTES, report=report)
    assert again.pending(9) == [] and again.holds("dam") and not again.holds("later")
    inbox.close()
