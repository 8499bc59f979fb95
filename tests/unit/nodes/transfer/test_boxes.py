"""Outbox and inbox: limits, a full disk, damage, deadlines, several stations on one inbox."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from nodes.contract.events import Event
from nodes.transfer import inbox_item as item_module
from nodes.transfer import outbox as outbox_module
from nodes.transfer.flow_control import Window
from nodes.transfer.inbox import Inbox, InboxItem
from nodes.transfer.messages import (
    Chunk,
    Done,
    Have,
    Manifest,
    Refused,
    Upward,
    Wait,
    decode_downward,
    encode,
)
from nodes.transfer.outbox import Outbox, OutboxError
from nodes.transfer.receiver import Receiver
from nodes.transfer.sender import Sender
from nodes.transfer.senders import space as space_module

CHUNK_BYTES = 4096
SIZE_BYTES = 20_000


class Log:
    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def __call__(self, event: Event, *, monotonic_s: float | None = None) -> None:
        self.events.append({"event": event.event_name, **event.fields()})

    def of(self, event: str) -> list[dict[str, Any]]:
        return [e for e in self.events if e["event"] == event]

    def frames(self, event: str) -> list[str]:
        return [e["frame"] for e in self.of(event)]


@pytest.fixture
def log() -> Log:
    return Log()


def make_outbox(folder: Path, log: Log, limit_bytes: int = 1 << 40) -> Outbox:
    return Outbox(folder / "outbox", "sat", CHUNK_BYTES, limit_bytes=limit_bytes, report=log)


def image(folder: Path, size_bytes: int = SIZE_BYTES) -> Path:
    path = folder / "image.bin"
    path.write_bytes(os.urandom(size_bytes))
    return path


def payloads(outbox: Outbox, log: Log) -> list[bytes]:
    """All payloads of all that waits, in order."""
    sender = Sender(outbox, Window(1e9), log)
    sender.connected(0.0, 0.0)
    taken = []
    while (payload := sender.next_payload(0.0)) is not None:
        taken.append(payload)
    return taken


class Station:
    def __init__(self, folder: Path, log: Log, time_s: float | None = None, **limits: Any) -> None:
        self.inbox = Inbox(folder / "inbox", report=log, **limits)
        self.time_s = time_s
        self.completed: list[str] = []
        self.receiver = Receiver(
            self.inbox, log, lambda item: self.completed.append(item.manifest.frame), lambda: self.time_s
        )

    def give(self, *taken: bytes) -> list[Upward]:
        for payload in taken:
            self.receiver.handle("sat", payload, 0.0)
        return [reply for _, reply in self.receiver.replies()]


def test_full_outbox_drops_the_oldest_of_the_lowest_priority_and_says_so(tmp_path: Path, log: Log) -> None:
    outbox = make_outbox(tmp_path, log, limit_bytes=3 * SIZE_BYTES)
    outbox.add_answer("a", b"yes", {})
    for frame in ("first", "second", "third"):
        outbox.add_image(frame, image(tmp_path), {})
    assert [item.manifest.frame for item in outbox.pending(9)] == ["a", "second", "third"]
    (dropped,) = log.of("dropped")
    assert dropped["frame"] == "first" and "full" in dropped["reason"]
    assert outbox.holds("first"), "a frame that was dropped must not be taken again"
    assert outbox.depth()[1] <= 3 * SIZE_BYTES


def test_outbox_drops_nothing_for_what_is_worth_less(tmp_path: Path, log: Log) -> None:
    outbox = make_outbox(tmp_path, log, limit_bytes=5000)
    outbox.add_answer("a", bytes(2000), {})
    outbox.add_answer("b", bytes(2000), {})
    with pytest.raises(OutboxError, match="no pending item has the same or a lower priority"):
        outbox.add_image("image", image(tmp_path, 4500), {})
    with pytest.raises(OutboxError, match="exceeds the size of the outbox"):
        outbox.add_image("image", image(tmp_path), {})
    assert [item.manifest.frame for item in outbox.pending(9)] == ["a", "b"]
    assert log.of("dropped") == []


def test_damaged_chunk_in_the_outbox_is_refused_before_it_is_sent(tmp_path: Path, log: Log) -> None:
    outbox = make_outbox(tmp_path, log)
    outbox.add_image("dam", image(tmp_path), {})
    (data,) = (tmp_path / "outbox").glob("pending/*/data")
    content = bytearray(data.read_bytes())
    content[9000] ^= 1
    data.write_bytes(content)
    station = Station(tmp_path, log)
    station.give(*payloads(outbox, log))
    assert station.completed == [] and outbox.pending(1) == []
    (refused,) = log.of("send_refused")
    assert "byte 8192" in refused["reason"] and "sha256" in refused["reason"]


def test_damaged_chunk_in_the_inbox_is_the_only_one_that_comes_again(tmp_path: Path, log: Log) -> None:
    outbox = make_outbox(tmp_path, log)
    outbox.add_image("dam", image(tmp_path), {})
    taken = payloads(outbox, log)
    station = Station(tmp_path, log)
    station.give(*taken[:-1])
    (part,) = (tmp_path / "inbox").glob("*/*/part")
    content = bytearray(part.read_bytes())
    content[9000] ^= 1
    part.write_bytes(content)
    (have,) = station.give(taken[-1])
    assert isinstance(have, Have) and have.base == 2 and have.bitmap == b"\x06", "chunk 2 alone is missing"
    (done,) = station.give(taken[3])
    assert isinstance(done, Done)
    assert [e["sha256_ok"] for e in log.of("received")] == [False, True]


def test_expired_item_is_not_sent_and_reported(tmp_path: Path, log: Log) -> None:
    outbox = make_outbox(tmp_path, log)
    outbox.add_image("old", image(tmp_path), {}, expires_s=10.0)
    outbox.add_image("new", image(tmp_path), {}, expires_s=11.0)
    outbox.add_image("for ever", image(tmp_path), {})
    outbox.expire(10.0)
    assert [item.manifest.frame for item in outbox.pending(9)] == ["new", "for ever"]
    assert log.frames("expired") == ["old"]
    assert make_outbox(tmp_path, log).holds("old")


def test_ground_refuses_and_frees_what_has_expired(tmp_path: Path, log: Log) -> None:
    outbox = make_outbox(tmp_path, log)
    outbox.add_image("dam", image(tmp_path), {}, expires_s=10.0)
    taken = payloads(outbox, log)
    Station(tmp_path, log, time_s=9.9).give(*taken[:3])
    late = Station(tmp_path, log, time_s=10.0)
    (refused,) = late.give(taken[3])
    assert isinstance(refused, Refused) and refused.reason == "expired"
    assert log.frames("expired") == ["dam"]
    assert not list((tmp_path / "inbox").glob("*/*/part"))
    late.inbox.expire(20.0)
    assert log.frames("expired") == ["dam"], "reported twice"


def test_sweep_expires_what_nobody_sends_any_more(tmp_path: Path, log: Log) -> None:
    outbox = make_outbox(tmp_path, log)
    outbox.add_image("dam", image(tmp_path), {}, expires_s=10.0)
    station = Station(tmp_path, log)
    station.give(*payloads(outbox, log)[:3])
    station.inbox.expire(9.0)
    assert list((tmp_path / "inbox").glob("*/*/part"))
    station.inbox.expire(10.0)
    assert log.frames("expired") == ["dam"] and not list((tmp_path / "inbox").glob("*/*/part"))


def test_sweep_leaves_what_was_finished_while_it_looked(
    tmp_path: Path, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = make_outbox(tmp_path, log)
    outbox.add_image("dam", image(tmp_path), {}, expires_s=10.0)
    taken = payloads(outbox, log)
    station = Station(tmp_path, log, time_s=9.9)
    station.give(*taken[:-1])
    load = Inbox._load

    def load_and_be_overtaken(inbox: Inbox, folder: Path, reader: bytes | None = None) -> InboxItem | None:
        item = load(inbox, folder, reader)
        station.give(taken[-1])  # by the link's thread, just before the deadline
        return item

    monkeypatch.setattr(Inbox, "_load", load_and_be_overtaken)
    station.inbox.expire(10.0)
    assert station.completed == ["dam"] and log.of("expired") == []
    assert not list((tmp_path / "inbox").glob("*/*/refused"))


def test_a_late_chunk_of_what_the_sweep_gave_up_is_refused_and_told_once(tmp_path: Path, log: Log) -> None:
    outbox = make_outbox(tmp_path, log)
    outbox.add_image("dam", image(tmp_path), {}, expires_s=10.0)
    taken = payloads(outbox, log)
    station = Station(tmp_path, log, time_s=9.9)
    station.give(*taken[:3])
    station.time_s = 10.0
    station.inbox.expire(10.0)
    (refused,) = station.give(taken[3])
    assert isinstance(refused, Refused) and refused.reason == "expired"
    assert log.frames("expired") == ["dam"], "reported twice"


def test_full_inbox_keeps_what_is_unanswered_and_asks_to_wait(tmp_path: Path, log: Log) -> None:
    outbox = make_outbox(tmp_path, log)
    station = Station(tmp_path, log, limit_bytes=int(1.5 * SIZE_BYTES))
    outbox.add_image("first", image(tmp_path), {})
    station.give(*payloads(outbox, log))
    outbox.release(outbox.pending(1)[0])
    outbox.add_image("second", image(tmp_path), {})
    taken = payloads(outbox, log)
    (wait, *_) = station.give(taken[0])
    assert isinstance(wait, Wait) and "full" in wait.reason
    assert len(log.of("inbox_full")) == 1 and log.of("dropped") == []
    (item,) = station.inbox.unanswered()
    claim = item.claim()
    assert claim is not None
    claim.answered()
    station.give(*taken)  # there is room now: what was answered goes
    assert station.completed == ["first", "second"]
    (dropped,) = log.of("dropped")
    assert dropped["frame"] == "first" and "answered before" in dropped["reason"]
    assert item.data_path.exists() and item.data_path.stat().st_size == 0
    (again,) = Station(tmp_path, log).give(encode(item.manifest))
    assert isinstance(again, Done), "what was dropped after it was answered must not come again"


def test_item_larger_than_the_inbox_is_refused(tmp_path: Path, log: Log) -> None:
    outbox = make_outbox(tmp_path, log)
    outbox.add_image("dam", image(tmp_path), {})
    (refused,) = Station(tmp_path, log, limit_bytes=1000).give(payloads(outbox, log)[0])
    assert isinstance(refused, Refused) and "larger" in refused.reason
    assert len(log.of("refused")) == 1


def test_unfinished_item_of_a_minute_ago_makes_room(
    tmp_path: Path, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = make_outbox(tmp_path, log)
    outbox.add_image("first", image(tmp_path), {})
    first = payloads(outbox, log)
    outbox.refuse(outbox.pending(1)[0])
    outbox.add_image("second", image(tmp_path), {})
    second = payloads(outbox, log)
    station = Station(tmp_path, log, limit_bytes=int(1.5 * SIZE_BYTES))
    station.give(*first[:3])
    assert isinstance(station.give(second[0])[0], Wait)
    monkeypatch.setattr(space_module, "IDLE_PART_S", -1.0)
    station.give(second[0])
    monkeypatch.undo()
    station.give(*second)
    assert station.completed == ["second"]
    assert log.frames("dropped") == ["first"]
    (have,) = Station(tmp_path, log).give(first[0])
    assert isinstance(have, Have) and have.base == 0 and have.bitmap == b"", (
        "its chunks are gone, and it knows"
    )


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_disk_that_refuses_a_chunk_costs_a_repeat_and_nothing_else(
    tmp_path: Path, log: Log, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    outbox = make_outbox(tmp_path, log)
    outbox.add_image("dam", image(tmp_path), {})
    taken = payloads(outbox, log)
    station = Station(tmp_path, log)
    station.give(*taken[:2])

    def full(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(item_module, "write_at", full)
        (wait,) = station.give(*taken[2:])
        assert isinstance(wait, Wait) and os.strerror(number) in wait.reason
    (have,) = station.give(taken[0])
    assert isinstance(have, Have) and have.base == 1
    station.give(*taken[2:])
    assert station.completed == ["dam"]


def test_image_that_begins_at_one_station_ends_at_another(tmp_path: Path, log: Log) -> None:
    outbox = make_outbox(tmp_path, log)
    outbox.add_image("dam", image(tmp_path), {})
    taken = payloads(outbox, log)
    one, other = Station(tmp_path, log), Station(tmp_path, log)
    one.give(*taken[:3])
    (have,) = other.give(taken[0])
    assert isinstance(have, Have) and have.base == 2
    other.give(taken[3])
    (have,) = one.give(taken[4])  # late, from the first station's broker
    assert isinstance(have, Have) and have.base == 4, "what the other station stored is not known"
    other.give(taken[5])
    assert one.completed == [] and other.completed == ["dam"]
    assert isinstance(one.give(taken[5])[0], Done)
    assert len(log.of("received")) == len(log.of("received_first")) == 1


def test_exactly_one_station_may_answer_also_when_the_first_dies(tmp_path: Path, log: Log) -> None:
    outbox = make_outbox(tmp_path, log)
    outbox.add_image("dam", image(tmp_path), {})
    one, other = Station(tmp_path, log), Station(tmp_path, log)
    one.give(*payloads(outbox, log))
    (seen_by_one,), (seen_by_other,) = one.inbox.unanswered(), other.inbox.unanswered()
    claim = seen_by_one.claim()
    assert claim is not None and seen_by_other.claim() is None
    claim.release()  # as the kernel does when a program is killed
    second = seen_by_other.claim()
    assert second is not None and seen_by_one.claim() is None
    second.answered()
    assert seen_by_one.claim() is None and one.inbox.unanswered() == other.inbox.unanswered() == []


def test_item_of_another_satellite_is_refused(tmp_path: Path, log: Log) -> None:
    outbox = make_outbox(tmp_path, log)
    outbox.add_image("dam", image(tmp_path), {})
    station = Station(tmp_path, log)
    for payload in payloads(outbox, log):
        station.receiver.handle("other", payload, 0.0)
    assert "does not match satellite" in log.of("malformed")[0]["reason"]
    assert list((tmp_path / "inbox").iterdir()) == []


def test_forged_chunk_costs_a_repeat_and_never_a_wrong_image(tmp_path: Path, log: Log) -> None:
    outbox = make_outbox(tmp_path, log)
    outbox.add_image("dam", image(tmp_path), {})
    taken = payloads(outbox, log)
    station = Station(tmp_path, log)
    manifest = decode_downward(taken[0])
    assert isinstance(manifest, Manifest)
    station.give(taken[0], encode(Chunk(manifest.item_id, 0, bytes(CHUNK_BYTES))), *taken[1:])
    assert station.completed == []
    station.give(*taken)
    assert station.completed == ["dam"]


def test_nothing_is_begun_that_cannot_finish_before_the_contact_ends(tmp_path: Path, log: Log) -> None:
    outbox = make_outbox(tmp_path, log)
    for frame, size_bytes in (("huge", 2_000_000), ("large", 200_000), ("small", 20_000)):
        outbox.add_image(frame, image(tmp_path, size_bytes), {})
    sender = Sender(outbox, Window(8e5), log)  # 100 kB/s
    sender.connected(0.0, now_s=100.0)
    sender.contact_ends_s = 105.0  # 500 kB in all
    now_s = 104.0  # 100 kB are left
    taken = []
    while (payload := sender.next_payload(now_s)) is not None:
        taken.append(payload)
    started = log.frames("send_started")
    # "large" fits into a contact like this one and waits for the next; "huge" fits into none, and goes last.
    assert started[0] == "small" and "large" not in started
    sender = Sender(outbox, Window(8e5), Log())
    sender.connected(0.0, now_s=100.0)
    untold = decode_downward(sender.next_payload(104.0) or b"")
    assert isinstance(untold, Manifest) and untold.frame == "huge", "without an end the order is by age"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_outbox_drops_the_oldest_where_a_disk_or_a_quota_is_full(
    tmp_path: Path, log: Log, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    outbox = make_outbox(tmp_path, log)
    outbox.add_image("old", image(tmp_path), {})
    copied = outbox_module._copy_hashed

    def full_with_an_old_one(*arguments: Any) -> Any:
        if outbox.depth()[0]:
            raise OSError(number, os.strerror(number))
        return copied(*arguments)

    monkeypatch.setattr(outbox_module, "_copy_hashed", full_with_an_old_one)
    outbox.add_image("new", image(tmp_path), {})
    assert [item.manifest.frame for item in outbox.pending(9)] == ["new"]
