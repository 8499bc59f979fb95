"""Items that are lost on the ground after the satellite has released them, and come again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from nodes.transfer.inbox import InboxItem
from nodes.transfer.messages import Again, Chunk, Coming, Gone, decode_downward, encode
from nodes.transfer.outbox import Outbox
from nodes.transfer.repeats import asking, kept
from tests.support.nodes.pair import SIZE_BYTES, Pair


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pair:
    for name in ("LOOK_S", "AGAIN_S", "AGAIN_AWAY_S", "PROMISED_S"):
        monkeypatch.setattr(asking, name, 0.0)
    return Pair(tmp_path)


def cut(item: InboxItem) -> None:
    os.truncate(item.data_path, 100)


def empty(item: InboxItem) -> None:
    os.truncate(item.data_path, 0)


def remove(item: InboxItem) -> None:
    item.data_path.unlink()


def remove_folder(item: InboxItem) -> None:
    shutil.rmtree(item.folder)


HOW = [cut, empty, remove, remove_folder]


def lost(pair: Pair, how: Callable[[InboxItem], None] = cut, frame: str = "dam") -> tuple[bytes, InboxItem]:
    """Let an item arrive, be released and be lost; return (its bytes, it)."""
    content = pair.add(frame)
    pair.run()
    item = pair.completed[-1]
    assert pair.inbox.unanswered() and pair.outbox.depth() == (0, 0)
    how(item)
    return content, item


def arrives_again(pair: Pair, content: bytes, item: InboxItem) -> None:
    """Check that an item comes again, and once."""
    pair.inbox.unanswered()
    pair.turn()
    pair.run()
    assert item.data_path.read_bytes() == content
    assert [found.folder for found in pair.inbox.unanswered()] == [item.folder]
    assert len(pair.completed) == 2 and pair.of("refused") == []
    for _ in range(5):
        pair.turn()
    assert len(pair.completed) == 2 and pair.inbox.missed == {}


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("size_bytes", [SIZE_BYTES, 3000])
def test_what_the_ground_lost_after_it_had_confirmed_it_comes_again(
    pair: Pair, how: Callable[[InboxItem], None], size_bytes: int
) -> None:
    pair.add("other")
    pair.run()
    pair.completed[0].claim().answered()  # type: ignore[union-attr]
    pair.completed.clear()
    content = pair.add("dam", size_bytes)
    pair.run()
    how(pair.completed[-1])
    arrives_again(pair, content, pair.completed[-1])
    (trouble,) = (event for event in pair.of("inbox_trouble") if "asked for again" in event["reason"])
    assert trouble["frame"] == "dam"


@pytest.mark.parametrize("how", [cut, remove])
@pytest.mark.parametrize("when", ["before it is seen", "when it was asked for", "while it comes"])
@pytest.mark.parametrize("who", ["satellite", "station", "both"])
def test_either_end_may_be_restarted_in_between(
    pair: Pair, how: Callable[[InboxItem], None], when: str, who: str
) -> None:
    content, item = lost(pair, how)
    if when != "before it is seen":
        pair.inbox.unanswered()
        replies = pair.give([])
        assert [type(reply) for reply in replies] == [Again]
        if when == "while it comes":
            pair.hear(replies)
            for reply in pair.give(pair.take()):
                pair.sender.handle(reply, pair.now_s)
            pair.give(pair.take()[:3])
    if who != "station":
        pair.start_satellite()
    if who != "satellite":
        pair.start_station()
    arrives_again(pair, content, item)


def test_satellite_that_is_killed_on_the_way_back_to_its_queue_sends_it(pair: Pair) -> None:
    content, item = lost(pair)
    pair.inbox.unanswered()
    (record,) = (pair.folder / "outbox/released").iterdir()
    (folder,) = (pair.folder / "outbox/kept").iterdir()
    record.rename(folder / "manifest")
    pair.start_satellite()
    assert pair.outbox.holds("dam") and pair.outbox.depth()[0] == 1
    arrives_again(pair, content, item)


def test_way_back_that_a_disk_interrupted_is_gone_at_the_next_request(pair: Pair) -> None:
    content, item = lost(pair)
    pending = pair.folder / "outbox/pending"
    pending.rename(pair.folder / "away")
    pair.inbox.unanswered()
    pair.turn()
    assert pair.outbox.depth()[0] == 0
    (pair.folder / "away").rename(pending)
    arrives_again(pair, content, item)


def test_what_the_satellite_has_no_more_is_reported_with_both_causes(pair: Pair) -> None:
    _, item = lost(pair)
    shutil.rmtree(pair.folder / "outbox/kept")
    pair.start_satellite()
    pair.inbox.unanswered()
    for _ in range(3):
        pair.turn()
    (refused,) = pair.of("refused")
    assert refused["frame"] == "dam" and refused["satellite"] == "sat"
    assert f"has 100 of {SIZE_BYTES} bytes; the satellite has deleted its bytes" in refused["reason"]
    pair.start_station()
    assert pair.inbox.unanswered() == [] and pair.inbox.missed == {} and len(pair.of("refused")) == 1
    assert (item.folder / "refused").exists()


def test_item_is_sent_again_three_times_at_most_also_after_restarts(pair: Pair) -> None:
    lost(pair)
    for _ in range(kept.REPEATS_MAX):
        pair.inbox.unanswered()
        pair.turn()
        pair.run()
        cut(pair.completed[-1])
        pair.start_satellite()
    assert len(pair.completed) == 1 + kept.REPEATS_MAX
    pair.inbox.unanswered()
    for _ in range(3):
        pair.turn()
    assert len(pair.completed) == 1 + kept.REPEATS_MAX
    assert "has sent it again 3 times" in pair.of("refused")[0]["reason"]


def test_hostile_station_gets_each_item_three_times_and_no_more(pair: Pair) -> None:
    content = pair.add()
    pair.run()
    released = pair.completed[0].manifest
    sent = 0
    for _ in range(20):
        pair.requests.handle(Again(released.item_id, released.sha256), pair.now_s)
        taken = pair.take()
        sent += sum(isinstance(decode_downward(payload), Chunk) for payload in taken)
        pair.run()
    assert pair.outbox.depth() == (0, 0) and len(pair.completed) == 1
    assert sent == 0, "an intact item is offered, and its bytes stay where they are"
    assert pair.completed[0].data_path.read_bytes() == content


@pytest.mark.parametrize("what", ["unknown", "other content", "refused"])
def test_requests_for_what_was_never_delivered_get_no_bytes(pair: Pair, what: str) -> None:
    pair.add()
    manifest = pair.outbox.pending(1)[0].manifest
    if what == "refused":
        pair.outbox.refuse(pair.outbox.pending(1)[0])
    else:
        pair.run()
    item_id = b"x" * 16 if what == "unknown" else manifest.item_id
    sha256 = b"x" * 32 if what == "other content" else manifest.sha256
    pair.requests.handle(Again(item_id, sha256), pair.now_s)
    reply = pair.requests.next_reply()
    assert isinstance(reply, Gone) and "no record" in reply.reason and pair.outbox.depth() == (0, 0)


def test_flood_of_requests_is_counted_and_costs_no_memory(pair: Pair) -> None:
    heeded = [pair.requests.handle(Again(bytes([n % 256]) * 16, b"x" * 32), 1.0) for n in range(1000)]
    assert sum(heeded) == 100
    assert sum(pair.requests.next_reply() is not None for _ in range(1000)) == 100
    assert sum(pair.requests.handle(Again(b"x" * 16, b"x" * 32), 2.0) for _ in range(1000)) == 50


def test_satellite_that_does_not_know_the_request_is_given_up_and_one_that_is_away_is_not(
    pair: Pair,
) -> None:
    lost(pair, frame="dam")
    pair.inbox.unanswered()
    for _ in range(200):
        assert [type(reply) for reply in pair.give([])] == [Again]
    assert pair.of("refused") == [], "it may be out of contact"
    pair.add("later")
    taken = pair.take()
    for _ in range(asking.UNHEEDED_MAX + 3):
        pair.give(taken)
    (refused,) = pair.of("refused")
    assert refused["frame"] == "dam" and "does not answer requests" in refused["reason"]


def test_missed_item_that_is_removed_once_more_is_not_forgotten(pair: Pair) -> None:
    content, item = lost(pair)
    pair.inbox.unanswered()
    shutil.rmtree(item.folder)
    pair.give([])
    pair.turn()
    pair.run()
    assert item.data_path.read_bytes() == content and pair.of("refused") == []


def test_missed_item_is_not_dropped_to_make_room(pair: Pair) -> None:
    content, item = lost(pair)
    pair.inbox.unanswered()
    os.utime(item.folder / "manifest", (0, 0))
    assert not pair.inbox.relieve(0, "a test")
    pair.turn()
    pair.run()
    assert item.data_path.read_bytes() == content


def test_answer_that_was_reported_is_not_asked_for_again(pair: Pair) -> None:
    pair.add()
    pair.run()
    pair.completed[0].claim().answered()  # type: ignore[union-attr]
    cut(pair.completed[0])
    pair.inbox.unanswered()
    pair.start_station()
    pair.inbox.unanswered()
    assert pair.give([]) == [] and pair.of("inbox_trouble") == []


def test_replies_that_nobody_waits_for_change_nothing(pair: Pair) -> None:
    pair.add()
    pair.run()
    item = pair.completed[0]
    pair.give([encode(Gone(item.manifest.item_id, "says who?")), encode(Gone(b"x" * 16, "?"))])
    assert [found.folder for found in pair.inbox.unanswered()] == [item.folder] and pair.of("refused") == []


# Room


def kept_frames(outbox: Path) -> list[str]:
    return sorted(folder.name[:12] for folder in (outbox / "kept").iterdir())


def test_oldest_bytes_go_first_and_the_queue_has_precedence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "KEPT_BYTES", 25_000)
    folder = tmp_path / "outbox"
    outbox = Outbox(folder, "sat", 4096, limit_bytes=40_000)
    for number in range(4):
        outbox.add_image(f"frame {number}", bytes([number]) * 10_000, {})
    for item in outbox.pending(4):
        outbox.release(item)
    assert kept_frames(folder) == ["000000000003", "000000000004"]
    outbox = Outbox(folder, "sat", 4096, limit_bytes=40_000)
    outbox.add_image("next", bytes(15_000), {})
    assert len(kept_frames(folder)) == 2
    outbox.add_image("more", bytes(14_000), {})
    assert kept_frames(folder) == ["000000000004"] and outbox.depth() == (2, 29_000)
    outbox.add_image("most", bytes(11_000), {})
    assert kept_frames(folder) == [] and outbox.depth() == (3, 40_000), "none was dropped"
    outbox.release(outbox.pending(1)[0])
    assert len(kept_frames(folder)) == 1 and outbox.depth() == (2, 25_000)
    outbox.forget_kept()
    assert list((folder / "kept").iterdir()) == []


def test_bytes_are_kept_on_a_disk_with_room_only(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "disk_shortfall", lambda folder, size_bytes: "no room")
    pair.add()
    pair.run()
    assert list((pair.folder / "outbox/kept").iterdir()) == []


@pytest.mark.parametrize(("share", "count"), [(1.0, 1), (0.0, 0)])
def test_small_disk_keeps_a_share(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, share: float, count: int
) -> None:
    monkeypatch.setattr(kept, "KEPT_SHARE", share)
    pair.add()
    pair.run()
    assert len(list((pair.folder / "outbox/kept").iterdir())) == count


# Times


def test_station_asks_at_once_then_more_often_while_the_satellite_is_heard(tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    _, item = lost(pair)
    pair.inbox.unanswered()
    ask = asking.Asking(pair.inbox, pair.report)
    wanted = [("sat", Again(item.manifest.item_id, item.manifest.sha256))]
    assert ask.due(100.0) == wanted
    assert ask.due(100.4) == ask.due(109.9) == [], "it may be out of contact"
    assert ask.due(110.5) == wanted
    ask.heard("sat", 110.6)
    assert ask.due(112.0) == []
    assert ask.due(112.6) == wanted
    ask.reply("sat", Coming(item.manifest.item_id), 113.0)
    ask.heard("sat", 114.0)
    assert ask.due(150.0) == [] and ask.due(153.1) == wanted, "what was promised is asked for rarely"


def test_station_asks_for_a_few_items_at_a_time(tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    for number in range(asking.ASKED_AT_ONCE + 5):
        pair.add(f"frame {number}", 10_000)
    pair.run()
    for item in pair.completed:
        cut(item)
    pair.inbox.unanswered()
    ask = asking.Asking(pair.inbox, pair.report)
    first, early, later = ask.due(100.0), ask.due(100.1), ask.due(100.6)
    assert (len(first), len(early), len(later)) == (asking.ASKED_AT_ONCE, 0, 5)
    assert len({request.item_id for _, request in first + later}) == asking.ASKED_AT_ONCE + 5
