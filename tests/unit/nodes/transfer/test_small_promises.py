"""What a user sees of a transfer, and what an engineer relies on: counts, orders, reasons, limits."""

from __future__ import annotations

import errno
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from nodes.contract.config import BrokerAddress
from nodes.contract.events import Event
from nodes.transfer import inbox as inbox_module
from nodes.transfer import inbox_item as item_module
from nodes.transfer import station as station_module
from nodes.transfer.flow_control import Window
from nodes.transfer.inbox import Inbox, complete_items
from nodes.transfer.messages import (
    CHUNK_MAX_BYTES,
    Chunk,
    Done,
    Have,
    Heartbeat,
    MalformedError,
    Manifest,
    Wait,
    decode_downward,
    encode,
)
from nodes.transfer.outbox import Outbox
from nodes.transfer.receiver import Receiver
from nodes.transfer.sender import Sender
from nodes.transfer.senders.turns import EXPRESS, Arrival
from nodes.transfer.station import StationLink

CHUNK_BYTES = 4096
SIZE_BYTES = 50_000


class Ends:
    """A sender and a receiver."""

    def __init__(self, folder: Path) -> None:
        self.events: list[dict[str, Any]] = []
        self.outbox = Outbox(folder / "outbox", "sat", CHUNK_BYTES, report=self.report)
        self.sender = Sender(self.outbox, Window(1e9), self.report)
        self.sender.connected(0.0, 0.0)
        self.inbox = Inbox(folder / "deep" / "er" / "inbox", report=self.report)
        self.receiver = Receiver(self.inbox, self.report, lambda item: None)

    def report(self, event: Event, *, monotonic_s: float | None = None) -> None:
        self.events.append({"event": event.event_name, **event.fields()})

    def of(self, event: str) -> list[dict[str, Any]]:
        return [e for e in self.events if e["event"] == event]

    def add(self, frame: str) -> None:
        self.outbox.add_image(frame, os.urandom(SIZE_BYTES), {"prompt": "?"})

    def payloads(self) -> list[bytes]:
        taken = []
        while (payload := self.sender.next_payload(0.0)) is not None:
            self.sender.written(0.0)
            taken.append(payload)
        return taken

    def transfer(self, frame: str) -> int:
        """Send a frame; return the bytes of its payloads."""
        self.add(frame)
        taken = self.payloads()
        for payload in taken:
            self.receiver.handle("sat", payload, 0.0)
        for _, reply in self.receiver.replies():
            self.sender.handle(reply, 1.0)
        return sum(map(len, taken))


@pytest.fixture
def ends(tmp_path: Path) -> Ends:
    return Ends(tmp_path)


def test_bytes_sent_are_those_of_the_payloads(ends: Ends) -> None:
    sent_bytes = ends.transfer("f")
    (finished,) = ends.of("send_finished")
    assert finished["bytes_sent"] == sent_bytes > SIZE_BYTES
    assert (finished["chunks"], finished["resent_chunks"]) == (13, 0)


def test_a_chunk_that_was_overtaken_is_sent_again_without_a_query(ends: Ends) -> None:
    ends.add("f")
    taken = [decode_downward(payload) for payload in ends.payloads()]
    assert isinstance(taken[0], Manifest)
    assert ends.payloads() == []
    ends.sender.handle(Have(taken[0].item_id, 1, 1, b"\x02"), 0.1)  # chunks 0 and 2, of 13
    again = decode_downward(ends.payloads()[0])
    assert not isinstance(again, Manifest | Heartbeat)
    assert again.offset == CHUNK_BYTES


def test_the_window_settles_for_six_round_trips_on_long_paths() -> None:
    window = Window(8e6)
    window.connected(0.5, 0.0)
    begin_bytes = window.limit_bytes

    def acknowledge(now_s: float) -> int:
        window.acknowledged(window.limit_bytes, 3.0, True, now_s)
        return window.limit_bytes

    assert acknowledge(2.9) == begin_bytes
    assert acknowledge(3.1) < begin_bytes
    window.connected(0.01, 10.0)
    assert acknowledge(10.9) == begin_bytes * 0.26 / 0.75  # a second, at least
    assert acknowledge(11.1) < begin_bytes * 0.26 / 0.75


def test_complete_items_are_listed_in_a_fixed_order_with_their_bytes(ends: Ends, tmp_path: Path) -> None:
    for number in range(6):
        ends.transfer(f"f{number}")
    found = complete_items(tmp_path / "deep/er/inbox")
    assert [path for _, path in found] == sorted(path for _, path in found) and len(found) == 6
    found[0][1].write_bytes(b"cut")
    assert len(complete_items(tmp_path / "deep/er/inbox")) == 5


def test_space_is_made_of_the_oldest_answered_item(ends: Ends, tmp_path: Path) -> None:
    for number, frame in enumerate(("oldest", "middle", "youngest")):
        ends.transfer(frame)
        (item,) = ends.inbox.unanswered()
        claim = item.claim()
        assert claim is not None
        claim.answered()
        os.utime(item.data_path, (1000 + number, 1000 + number))
    for frame in ("oldest", "middle", "youngest"):
        assert ends.inbox.relieve(1, "the disk is full")
        assert ends.of("dropped")[-1]["frame"] == frame
    assert not ends.inbox.relieve(1, "the disk is full")


def test_the_reason_to_wait_is_that_of_the_disk_alone(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    ends.add("f")
    monkeypatch.setattr(item_module, "write_at", refuse)
    for payload in ends.payloads():
        ends.receiver.handle("sat", payload, 0.0)
    ((_, wait),) = ends.receiver.replies()
    assert isinstance(wait, Wait)
    assert wait.reason == "cannot be stored: Read-only file system"


def test_strays_are_told_up_to_a_number(ends: Ends, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox_module, "TOLD_MAX", 3)
    for number in range(5):
        (tmp_path / "deep/er/inbox" / f"stray {number}").touch()
    for _ in range(3):
        ends.inbox.look_around()
    assert len(ends.of("inbox_trouble")) == 3


def test_an_item_can_be_closed_twice_and_used_again(ends: Ends) -> None:
    ends.transfer("f")
    (item,) = ends.inbox.unanswered()
    with item.locked():
        pass
    item.close()
    item.close()
    with item.locked():
        pass
    item.close()


def test_a_batch_ends_in_time_so_that_replies_are_not_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(station_module, "BATCH_S", 0.0)
    link = StationLink(
        name="G", broker=BrokerAddress(unix_socket=tmp_path / "socket"), inbox=Inbox(tmp_path / "inbox"),
        report=lambda event, monotonic_s=None: None, on_complete=lambda item: None,
    )  # fmt: skip
    beat = encode(Heartbeat(monotonic_s=0.0, pending=0, pending_bytes=0, contacts=0))
    for _ in range(3):
        link._arrivals.put(Arrival(EXPRESS, time.monotonic(), "sat", beat))
    link._store_batch()
    assert [link._arrivals.get(0.0) is not None for _ in range(3)] == [True, True, False]


def test_done_is_repeated_for_what_is_complete(ends: Ends) -> None:
    ends.add("f")
    taken = ends.payloads()
    for _ in range(2):
        for payload in taken:
            ends.receiver.handle("sat", payload, 0.0)
        ((_, reply),) = ends.receiver.replies()
        assert isinstance(reply, Done)


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files and folders that were synced, in order."""
    names: list[str] = []
    really = os.fsync

    def noted_fsync(descriptor: int) -> None:
        really(descriptor)
        names.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    return names


def test_an_image_is_on_disk_before_its_frame_counts_as_taken(ends: Ends, synced: list[str]) -> None:
    ends.add("f")
    assert {"data", "digests", ".making"} <= set(synced), "bytes, and the folder of the manifest"
    assert any(name.startswith(".manifest.") for name in synced)
    assert synced[-1] == "pending"


def test_a_refusal_and_an_answer_are_on_disk_before_they_count(ends: Ends, synced: list[str]) -> None:
    ends.transfer("f")
    (item,) = ends.inbox.unanswered()
    claim = item.claim()
    assert claim is not None
    synced.clear()
    claim.answered()
    assert synced == [item.folder.name]
    synced.clear()
    item.refuse("no")
    assert [name.startswith(".refused.") for name in synced] == [True, False]
    assert synced[1] == item.folder.name


def test_a_chunk_has_a_largest_size() -> None:
    for size_bytes, allowed in ((CHUNK_MAX_BYTES, True), (CHUNK_MAX_BYTES + 1, False)):
        payload = encode(Chunk(bytes(16), 0, bytes(size_bytes)))
        if allowed:
            assert isinstance(decode_downward(payload), Chunk)
        else:
            with pytest.raises(MalformedError):
                decode_downward(payload)


def test_an_item_in_the_folder_of_another_satellite_is_none(ends: Ends, tmp_path: Path) -> None:
    ends.transfer("f")
    (item,) = ends.inbox.unanswered()
    shutil.copytree(item.folder, tmp_path / "deep/er/inbox/other" / item.folder.name)
    assert [found.satellite for found in ends.inbox.unanswered()] == ["sat"]
    assert ends.inbox.find("other", item.manifest.item_id) is None


@pytest.mark.parametrize("name", ["../sat", "/sat", "", ".", "a/b", "S\0"])
def test_the_name_of_a_satellite_is_no_path(ends: Ends, name: str) -> None:
    with pytest.raises(MalformedError, match="not allowed"):
        ends.inbox.find(name, bytes(16))
