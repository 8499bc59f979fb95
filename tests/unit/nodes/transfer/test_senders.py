"""What a station grants each satellite: space, rates, turns, and the sieve before the parser."""

from __future__ import annotations

import os
import socket
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from nodes.contract.events import Event
from nodes.transfer.inbox import Inbox
from nodes.transfer.messages import Chunk, Have, Heartbeat, Upward, Wait, encode, item_id
from nodes.transfer.receiver import Receiver
from nodes.transfer.senders import limits, turns
from nodes.transfer.senders.limits import Allowance
from nodes.transfer.senders.sieve import SievedSocket
from nodes.transfer.senders.space import UNFINISHED_MAX
from nodes.transfer.senders.turns import BULK, EXPRESS, Arrival, Turns
from tests.support.nodes.flooder import NAME, manifest, packet, text

GIB = 1 << 30


class Station:
    def __init__(self, folder: Path, **limit: int) -> None:
        self.events: list[dict[str, Any]] = []
        self.inbox = Inbox(folder / "inbox", report=self.report, **limit)
        self.receiver = Receiver(self.inbox, self.report, lambda item: None)

    def report(self, event: Event, *, monotonic_s: float | None = None) -> None:
        self.events.append({"event": event.event_name, **event.fields()})

    def of(self, event: str) -> list[dict[str, Any]]:
        return [e for e in self.events if e["event"] == event]

    def give(self, payload: bytes, satellite: str = NAME) -> Upward | None:
        self.receiver.handle(satellite, payload, 0.0)
        replies = self.receiver.replies()
        return replies[0][1] if replies else None


@pytest.fixture
def station(tmp_path: Path) -> Station:
    return Station(tmp_path, limit_bytes=64 * GIB)


def of_other(number: int) -> bytes:
    """Return a manifest of another satellite."""
    digest = sha256(str(number).encode()).digest()
    name = item_id("other", "image", f"f{number}", digest)
    return encode(replace(manifest(number), item_id=name, frame=f"f{number}", sha256=digest))


def test_announcements_of_one_satellite_leave_half_of_the_inbox_to_others(station: Station) -> None:
    replies = [station.give(encode(manifest(number))) for number in range(17)]
    assert [type(reply) for reply in replies] == [Have] * 8 + [Wait] * 9  # 4 GiB each
    assert [type(station.give(of_other(number), "other")) for number in range(8)] == [Have] * 8
    assert "may hold" in station.of("inbox_full")[0]["reason"]


def test_satellite_has_a_bounded_number_of_unfinished_items(tmp_path: Path) -> None:
    station = Station(tmp_path)
    replies = [station.give(encode(manifest(n, size_bytes=10_000))) for n in range(UNFINISHED_MAX + 50)]
    assert [isinstance(reply, Have) for reply in replies] == [True] * UNFINISHED_MAX + [False] * 50
    assert len(list((tmp_path / "inbox" / NAME).iterdir())) == UNFINISHED_MAX
    assert isinstance(station.give(of_other(1), "other"), Have)


def test_announced_items_that_never_came_are_removed_after_a_minute(tmp_path: Path) -> None:
    station = Station(tmp_path)
    for number in range(UNFINISHED_MAX):
        station.give(encode(manifest(number, size_bytes=10_000)))
    for path in (tmp_path / "inbox").glob("*/*/manifest"):
        os.utime(path, (0, 0))
    assert isinstance(station.give(encode(manifest(1000, size_bytes=10_000))), Have)
    assert station.of("dropped") == []


def test_flood_of_manifests_is_told_in_few_events(station: Station) -> None:
    for number in range(5000):
        station.receiver.handle(NAME, encode(manifest(number)), 0.0)
    assert len(station.events) < 150
    assert station.receiver.refusals.count > 3000
    assert len(station.receiver.replies()) < 500


def test_heartbeats_beyond_the_limit_are_refused_and_counted(station: Station) -> None:
    beat = encode(Heartbeat(monotonic_s=0.0, pending=0, pending_bytes=0, contacts=1))
    for _ in range(1000):
        station.give(beat)
    told = len(station.of("heartbeat"))
    assert limits.HEARTBEATS_AT_ONCE <= told < 100
    assert station.receiver.refusals.count == 1000 - told


def test_large_payload_is_refused_before_it_is_decoded(station: Station) -> None:
    assert station.give(bytes(limits.PAYLOAD_MAX_BYTES + 1)) is None
    assert "bytes; at most" in station.of("malformed")[0]["reason"]
    assert station.give(encode(Chunk(b"i" * 16, 0, bytes(256 * 1024)))) is not None, "the largest chunk"


@pytest.mark.parametrize("key", ["unknown", "v"])
@pytest.mark.parametrize("depth", [5, 17, 300, 900, 1100, 200_000])
def test_nested_payload_is_refused_with_a_short_reason(station: Station, key: str, depth: int) -> None:
    beat = encode(Heartbeat(monotonic_s=0.0, pending=0, pending_bytes=0, contacts=1))
    value = b"\x91" * depth + b"\xc0"
    station.give(bytes([beat[0] + 1]) + beat[1:] + bytes([0xA0 + len(key)]) + key.encode() + value)
    if key == "unknown" and depth == 5:
        assert station.of("malformed") == [], "unknown keys are ignored"
        return
    (malformed,) = station.of("malformed")
    assert len(malformed["reason"]) < 200
    if key == "unknown" and depth in (17, 300):
        assert "levels deep" in malformed["reason"]


def test_answer_outside_of_its_manifest_is_refused(station: Station) -> None:
    announced = manifest(1)
    name = item_id(NAME, "answer", announced.frame, announced.sha256)
    assert station.give(encode(replace(announced, kind="answer", item_id=name))) is None
    assert "answer of" in station.of("malformed")[0]["reason"]


def test_allowance_refills_with_time() -> None:
    allowance = Allowance(per_s=10.0, at_once=5.0)
    assert [allowance.take(0.0) for _ in range(7)] == [True] * 5 + [False] * 2
    assert [allowance.take(0.2) for _ in range(3)] == [True, True, False]
    assert [allowance.take(100.0) for _ in range(6)] == [True] * 5 + [False]


def arrival(sender: str, payload: bytes = b"x", urgency: int = BULK) -> Arrival:
    return Arrival(urgency, 0.0, sender, payload)


def test_senders_take_turns_by_the_time_that_they_cost() -> None:
    queue = Turns()
    for number in range(100):
        queue.put(arrival("flood", b"%d" % number))
    order = []
    for number in range(40):
        if number == 10:
            for _ in range(20):
                queue.put(arrival("other"))
        taken = queue.get(0.0)
        assert taken is not None
        order.append(taken.sender)
        queue.spent(taken.sender, 0.003 if taken.sender == "flood" else 0.001)
    assert order[:10] == ["flood"] * 10
    assert 5 <= order[10:].count("flood") <= 10, "one turn of the flood costs as much as three of the other"
    assert order[10:].count("other") == 20


def test_urgent_payloads_of_a_sender_go_first() -> None:
    queue = Turns()
    queue.put(arrival("a", b"image"))
    queue.put(arrival("a", b"answer", EXPRESS))
    taken = [queue.get(0.0), queue.get(0.0), queue.get(0.0)]
    assert [t and t.payload for t in taken] == [b"answer", b"image", None]


def test_full_queue_refuses_its_sender_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "WAITING_MAX", 10)
    queue = Turns()
    admitted = 0
    while queue.admits("flood", BULK, 100_000):
        queue.put(arrival("flood", bytes(100_000)))
        admitted += 1
    assert admitted == 10
    assert queue.admits("other", BULK, 100_000) and queue.admits("flood", EXPRESS, 100)
    assert queue.take_refused() == {("flood", "sends faster than the ground stores"): 1}
    assert queue.take_refused() == {}
    queue.get(0.0)
    assert queue.admits("flood", BULK, 100_000)


def test_waiting_bytes_and_small_payloads_are_bounded() -> None:
    queue = Turns()
    assert not queue.admits("flood", BULK, 2_000_000)
    while queue.admits("flood", BULK, 400_000):
        queue.put(arrival("flood", bytes(400_000)))
    assert queue._waiting_bytes <= turns.WAITING_MAX_BYTES
    small = sum(queue.admits("small", BULK, 100) for _ in range(10_000))
    assert limits.SMALL_AT_ONCE <= small < 2 * limits.SMALL_AT_ONCE


PACKETS = st.lists(
    st.tuples(st.sampled_from(["spaceverse/down/a", "spaceverse/down/b", ""]), st.integers(0, 40_000)),
    max_size=12,
)


@given(PACKETS, st.integers(50, 5000))
@settings(deadline=None, max_examples=50)
def test_sieve_passes_what_is_admitted_byte_for_byte(packets: list[tuple[str, int]], piece: int) -> None:
    stream, kept = b"\x20\x02\x00\x00", b"\x20\x02\x00\x00"
    for topic, size_bytes in packets:
        whole = packet(0x30, text(topic) + bytes(size_bytes))
        stream += whole
        kept += b"" if topic.endswith("/a") else whole
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        sieved = SievedSocket(near, lambda topic, size: not topic.endswith(b"/a"))
        got = b""
        for begin in range(0, len(stream), 60_000):
            far.sendall(stream[begin : begin + 60_000])
            try:
                while True:
                    got += sieved.recv(piece)
            except BlockingIOError:
                pass
        far.close()
        assert sieved.recv(10) == b"", "the end of the connection"
    assert got == kept
