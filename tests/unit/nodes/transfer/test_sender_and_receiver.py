"""Both ends of the protocol without a network: the tests carry, lose and repeat payloads."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from nodes.contract.events import Event
from nodes.transfer.flow_control import Window
from nodes.transfer.inbox import Inbox, InboxItem
from nodes.transfer.messages import Hello, Manifest, Upward, decode_downward, decode_upward, encode
from nodes.transfer.outbox import Outbox, OutboxError
from nodes.transfer.receiver import Receiver
from nodes.transfer.sender import Sender

CHUNK_BYTES = 4096


class Ends:
    """A sender and a receiver, and a line between them that the test is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.events: list[dict[str, Any]] = []
        self.completed: list[InboxItem] = []
        self.now_s = 100.0
        self.restart_sender()
        self.restart_receiver()

    def report(self, event: Event, *, monotonic_s: float | None = None) -> None:
        self.events.append({"event": event.event_name, **event.fields()})

    def of(self, event: str) -> list[dict[str, Any]]:
        return [e for e in self.events if e["event"] == event]

    def restart_sender(self) -> None:
        self.outbox = Outbox(self.folder / "outbox", "Sat", CHUNK_BYTES)
        self.sender = Sender(self.outbox, Window(8 * CHUNK_BYTES / 0.1), self.report)
        self.sender.connected(0.1, self.now_s)

    def restart_receiver(self) -> None:
        self.receiver = Receiver(Inbox(self.folder / "inbox"), self.report, self.completed.append)

    def take(self) -> list[bytes]:
        """All that the sender would send now."""
        payloads = []
        while (payload := self.sender.next_payload(self.now_s)) is not None:
            payloads.append(payload)
            self.sender.written(self.now_s)
        return payloads

    def give(self, payloads: list[bytes]) -> list[Upward]:
        for payload in payloads:
            self.receiver.handle("Sat", payload, self.now_s)
        return [decode_upward(encode(reply)) for _, reply in self.receiver.replies()]

    def reply(self, replies: list[Upward]) -> None:
        self.now_s += 0.1
        for reply in replies:
            self.sender.handle(reply, self.now_s)

    def run(self, rounds: int = 100) -> None:
        for _ in range(rounds):
            payloads = self.take()
            if not payloads and self.sender.idle:
                return
            self.reply(self.give(payloads))
            self.now_s += 1.0
        pytest.fail("the transfer does not come to an end")


@pytest.fixture
def ends(tmp_path: Path) -> Ends:
    return Ends(tmp_path)


def add_image(ends: Ends, frame: str = "dam", size_bytes: int = 50_000) -> bytes:
    content = os.urandom(size_bytes)
    path = ends.folder / f"{frame}.bin"
    path.write_bytes(content)
    assert ends.outbox.add_image(frame, path, {"prompt": "what?"})
    return content


def stored(ends: Ends) -> list[bytes]:
    return [item.data_path.read_bytes() for item in ends.completed]


def test_image_arrives_once_without_repeats(ends: Ends) -> None:
    content = add_image(ends)
    ends.run()
    assert stored(ends) == [content]
    assert ends.of("send_finished")[0]["resent_chunks"] == 0
    assert ends.of("send_finished")[0]["chunks"] == 13


def test_no_more_is_under_way_than_the_window(ends: Ends) -> None:
    add_image(ends, size_bytes=500_000)
    limit_bytes = ends.sender._window.limit_bytes
    assert limit_bytes <= sum(map(len, ends.take())) <= limit_bytes + CHUNK_BYTES + 500


def test_lost_chunks_are_found_by_the_next_manifest_alone(ends: Ends) -> None:
    content = add_image(ends)
    first = ends.take()
    ends.give(first[:2])  # and the replies are lost, too
    ends.reply([Hello()])
    (manifest,) = ends.take()
    assert isinstance(decode_downward(manifest), Manifest), "chunks before the ground has said what it has"
    ends.reply(ends.give([manifest]))
    ends.run()
    assert stored(ends) == [content]
    assert ends.of("send_finished")[0]["resent_chunks"] == len(first) - 2


def test_hole_in_the_middle_is_filled_at_once(ends: Ends) -> None:
    content = add_image(ends, size_bytes=500_000)
    payloads = ends.take()
    del payloads[2]
    ends.reply(ends.give(payloads))
    ends.run()
    assert stored(ends) == [content]
    assert ends.of("send_finished")[0]["resent_chunks"] == 1


def test_silence_is_answered_with_a_manifest(ends: Ends) -> None:
    content = add_image(ends)
    assert ends.take()
    assert ends.take() == []
    ends.now_s += 10.0
    (payload,) = ends.take()
    assert isinstance(decode_downward(payload), Manifest)
    ends.reply(ends.give([payload]))
    ends.run()
    assert stored(ends) == [content]


def test_chunks_without_manifest_are_asked_about(ends: Ends) -> None:
    content = add_image(ends)
    ends.reply(ends.give(ends.take()[1:]))
    ends.run()
    assert stored(ends) == [content]


@pytest.mark.parametrize("end", ["sender", "receiver"])
def test_restart_of_either_end_resumes(ends: Ends, end: str) -> None:
    content = add_image(ends)
    payloads = ends.take()
    ends.give(payloads[:3])
    if end == "sender":
        ends.restart_sender()
    else:
        ends.restart_receiver()
        ends.reply([Hello()])
    ends.run()
    assert stored(ends) == [content]
    assert ends.receiver.duplicates == 0


def test_item_that_is_complete_is_confirmed_again_and_not_counted_twice(ends: Ends) -> None:
    content = add_image(ends, size_bytes=9_000)
    payloads = ends.take()
    ends.give(payloads)
    ends.restart_receiver()
    assert len(ends.give(payloads + payloads)) == 1
    ends.reply([Hello()])
    ends.run()
    assert stored(ends) == [content]
    assert len(ends.of("received")) == 1


def test_answers_before_images_and_older_first(ends: Ends) -> None:
    add_image(ends, "first", 9_000)
    add_image(ends, "second", 9_000)
    ends.outbox.add_answer("third", b"yes", {})
    ends.run()
    assert [event["frame"] for event in ends.of("delivered")] == ["third", "first", "second"]
    assert next(event["frame"] for event in ends.of("send_started")) == "third"


def test_small_image_travels_inside_its_manifest(ends: Ends) -> None:
    content = add_image(ends, size_bytes=4096)
    assert len(ends.take()) == 1
    ends.now_s += 10
    ends.run()
    assert stored(ends) == [content]


def test_contradicting_manifest_is_refused(ends: Ends) -> None:
    add_image(ends)
    manifest = decode_downward(ends.take()[0])
    assert isinstance(manifest, Manifest)
    ends.give([encode(manifest)])
    ends.give([encode(Manifest(**{**_fields(manifest), "size_bytes": manifest.size_bytes + 1}))])
    assert ends.receiver.refusals.count == 1


def test_satellite_with_a_path_for_a_name_is_refused(ends: Ends) -> None:
    add_image(ends)
    for payload in ends.take():
        ends.receiver.handle("../../etc", payload, 0.0)
    assert ends.receiver.refusals.count > 0
    assert list((ends.folder / "inbox").iterdir()) == []


def test_outbox_remembers_over_a_restart(ends: Ends) -> None:
    add_image(ends)
    ends.restart_sender()
    assert ends.outbox.holds("dam")
    assert not ends.outbox.add_image("dam", ends.folder / "dam.bin", {})
    ends.run()
    ends.restart_sender()
    assert ends.outbox.holds("dam") and ends.outbox.pending(1) == []
    assert not list((ends.folder / "outbox" / "pending").iterdir()), (
        "bytes of a released item are still there"
    )


def test_outbox_cleans_up_after_a_crash(ends: Ends) -> None:
    left = ends.folder / "outbox" / "pending" / ".making"
    left.mkdir()
    (left / "data").write_bytes(b"half")
    ends.restart_sender()
    assert not left.exists()


def test_outbox_refuses_what_it_cannot_take(ends: Ends) -> None:
    with pytest.raises(OutboxError, match="No such file"):
        ends.outbox.add_image("none", ends.folder / "none.bin", {})
    (ends.folder / "empty.bin").touch()
    with pytest.raises(OutboxError, match="empty"):
        ends.outbox.add_image("empty", ends.folder / "empty.bin", {})
    with pytest.raises(OutboxError, match="1 to 4096 are allowed"):
        ends.outbox.add_answer("long", b"x" * 5000, {})
    assert ends.outbox.pending(1) == []


def test_complete_items_without_an_answer_are_found_after_a_restart(ends: Ends) -> None:
    add_image(ends)
    ends.run()
    (item,) = Inbox(ends.folder / "inbox").unanswered()
    claim = item.claim()
    assert claim is not None and item.claim() is None, "two may not answer it"
    claim.answered()
    assert item.claim() is None
    assert Inbox(ends.folder / "inbox").unanswered() == []


def _fields(manifest: Manifest) -> dict[str, Any]:
    return msgspec.structs.asdict(manifest)


def test_what_is_under_way_or_there_counts_as_sent(ends: Ends) -> None:
    content = add_image(ends)
    add_image(ends, "later", 20_000)
    assert ends.sender.sent_bytes == 0
    payloads = ends.take()
    first = ends.sender.sent_bytes
    assert 0 < first <= sum(map(len, payloads))
    ends.reply(ends.give(payloads))
    assert ends.sender.sent_bytes <= first  # what is there is counted without its heads
    while len(ends.completed) < 1:
        ends.reply(ends.give(ends.take()))
    assert ends.sender.sent_bytes <= ends.outbox.depth()[1] == 20_000
    ends.run()
    assert ends.sender.sent_bytes == 0
    assert stored(ends)[0] == content


def test_an_image_that_was_made_on_board_goes_as_one_from_a_file(ends: Ends) -> None:
    assert ends.outbox.add_image("dam", b"regions" * 3000, {"prompt": "?", "form": "regions"})
    assert not ends.outbox.add_image("dam", b"again", {})
    ends.run()
    assert stored(ends) == [b"regions" * 3000]
    assert ends.completed[0].manifest.metadata["form"] == "regions"
    with pytest.raises(OutboxError, match="empty: is empty"):
        ends.outbox.add_image("empty", b"", {})
