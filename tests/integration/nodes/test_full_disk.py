"""Outbox and inbox on a full disk, a small tmpfs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodes.transfer.flow_control import Window
from nodes.transfer.inbox import Inbox
from nodes.transfer.messages import Done, Have, Upward, Wait
from nodes.transfer.outbox import Outbox, OutboxError
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
    with pytest.raises(OutboxError, match="no pending item has the same or a lower priority"):
        outbox.add_image("too much", image(tmp_path, "image"), {})
    assert [item.manifest.frame for item in outbox.pending(9)] == ["answer"]
    filler.unlink()
    outbox.add_image("again", image(tmp_path, "image"), {})
    assert Outbox(small_disk / "outbox", "sat", CHUNK_BYTES).holds("again")


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
    filler.write_bytes(bytes(1_500_000))
    outbox.add_image("dam", image(tmp_path, "image"), {})
    taken = payloads(outbox)
    replies = [give(payload) for payload in taken]
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
