"""Limits of manifests, durable releases, the order of the outbox, the express connection, shunned stations.

Each test fails if the line under test is broken.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest

from nodes.contract import topics
from nodes.contract.config import Station
from nodes.contract.events import Delivered, Event
from nodes.runtime.contact import CarrierWatch
from nodes.transfer.downlink import Downlink
from nodes.transfer.flow_control import Window
from nodes.transfer.inbox import Inbox
from nodes.transfer.messages import (
    CHUNK_MAX_BYTES,
    CHUNK_MIN_BYTES,
    CHUNKS_MAX,
    INLINE_LIMIT_BYTES,
    METADATA_MAX_ENTRIES,
    METADATA_MAX_TEXT,
    SIZE_MAX_BYTES,
    Done,
    MalformedError,
    Manifest,
    decode_downward,
)
from nodes.transfer.outbox import Outbox
from nodes.transfer.receiver import Receiver
from nodes.transfer.sender import Sender
from tests.support.nodes.ends import Recorder
from tests.support.waiting import wait_for

BASE: dict[str, Any] = {
    "v": 1, "t": "manifest", "id": bytes(16), "kind": "image", "frame": "f", "size": 10_000,
    "sha256": bytes(32), "chunk": 4096, "priority": 1, "meta": {}, "query": 1,
}  # fmt: skip

LONG = "x" * METADATA_MAX_TEXT
EDGES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("size", {"size": SIZE_MAX_BYTES, "chunk": CHUNK_MAX_BYTES}, {"size": SIZE_MAX_BYTES + 1}),
    ("chunks", {"size": CHUNKS_MAX * 1024, "chunk": 1024}, {"size": CHUNKS_MAX * 1024 + 1}),
    ("smallest size", {"size": 1, "data": b"x"}, {"size": 0, "data": b""}),
    ("inline", {"size": INLINE_LIMIT_BYTES, "data": bytes(INLINE_LIMIT_BYTES)},
     {"size": INLINE_LIMIT_BYTES + 1, "data": bytes(INLINE_LIMIT_BYTES + 1)}),
    ("data and size", {"size": 3, "data": b"abc"}, {"size": 4}),
    ("largest chunk", {"chunk": CHUNK_MAX_BYTES}, {"chunk": CHUNK_MAX_BYTES + 1}),
    ("smallest chunk", {"chunk": CHUNK_MIN_BYTES}, {"chunk": CHUNK_MIN_BYTES - 1}),
    ("frame's name", {"frame": "x" * 200}, {"frame": "x" * 201}),
    ("metadata's text", {"meta": {"a": LONG}}, {"meta": {"a": LONG + "x"}}),
    ("metadata's name", {"meta": {LONG: 1}}, {"meta": {LONG + "x": 1}}),
    ("metadata", {"meta": {str(n): n for n in range(METADATA_MAX_ENTRIES)}},
     {"meta": {str(n): n for n in range(METADATA_MAX_ENTRIES + 1)}}),
    ("priority", {"priority": 255}, {"priority": 256}),
    ("id", {"id": bytes(16)}, {"id": bytes(17)}),
    ("sha256", {"sha256": bytes(32)}, {"sha256": bytes(33)}),
]  # fmt: skip


@pytest.mark.parametrize(("allowed", "beyond"), [edge[1:] for edge in EDGES], ids=[edge[0] for edge in EDGES])
def test_limits_of_manifests_are_exact(allowed: dict[str, Any], beyond: dict[str, Any]) -> None:
    assert isinstance(decode_downward(msgpack.packb({**BASE, **allowed})), Manifest)
    with pytest.raises(MalformedError):
        decode_downward(msgpack.packb({**BASE, **allowed, **beyond}))


def test_limits_are_those_of_version_1() -> None:
    """Ends of other versions of this project rely on them."""
    assert (SIZE_MAX_BYTES, CHUNK_MAX_BYTES, CHUNK_MIN_BYTES, CHUNKS_MAX) == (4 << 30, 262_144, 1024, 1 << 20)
    assert (INLINE_LIMIT_BYTES, METADATA_MAX_ENTRIES, METADATA_MAX_TEXT) == (4096, 32, 8000)


def no_report(event: Event, *, monotonic_s: float | None = None) -> None:
    """Drop the event."""


def test_release_is_on_disk_before_it_is_reported_and_before_the_bytes_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    really = os.fsync

    def noted_fsync(descriptor: int) -> None:
        path = str(Path(f"/proc/self/fd/{descriptor}").readlink())
        really(descriptor)
        if path.endswith("/released"):
            order.append(f"synced with {len(list(released.iterdir()))} record")
            assert list((tmp_path / "outbox" / "pending").iterdir()), "the bytes went first"

    def report(event: Event, *, monotonic_s: float | None = None) -> None:
        if isinstance(event, Delivered):
            order.append("delivered")

    outbox = Outbox(tmp_path / "outbox", "sat", 4096)
    released = tmp_path / "outbox" / "released"
    outbox.add_image("f", bytes(10_000), {})
    sender = Sender(outbox, Window(1e9), report)
    sender.connected(0.0, 0.0)
    while sender.next_payload(0.0) is not None:
        pass
    monkeypatch.setattr(os, "fsync", noted_fsync)
    sender.handle(Done(outbox.pending(1)[0].manifest.item_id), 1.0)
    assert order == ["synced with 1 record", "delivered"]
    assert not list((tmp_path / "outbox" / "pending").iterdir())


def test_item_is_on_disk_before_the_ground_says_that_it_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    really = os.fsync

    def noted_fsync(descriptor: int) -> None:
        really(descriptor)
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)

    outbox = Outbox(tmp_path / "outbox", "sat", 4096)
    outbox.add_image("f", bytes(10_000), {})
    sender = Sender(outbox, Window(1e9), no_report)
    sender.connected(0.0, 0.0)
    receiver = Receiver(Inbox(tmp_path / "inbox"), no_report, lambda item: None)
    monkeypatch.setattr(os, "fsync", noted_fsync)
    while (payload := sender.next_payload(0.0)) is not None:
        receiver.handle("sat", payload, 0.0)
    ((_, reply),) = receiver.replies()
    assert isinstance(reply, Done)
    item = outbox.pending(1)[0].manifest.item_id.hex()
    assert {"part", "manifest", item, "sat", "inbox"} <= set(synced)


def test_outbox_keeps_its_order_over_a_restart(tmp_path: Path) -> None:
    def frames(box: Outbox, **which: bool) -> list[str]:
        return [item.manifest.frame for item in box.pending(99, **which)]

    outbox = Outbox(tmp_path / "outbox", "sat", 4096)
    for number in range(12):
        if number % 3 == 2:
            outbox.add_answer(f"answer {number}", b"yes", {})
        else:
            outbox.add_image(f"image {number}", bytes([number]) * 5000, {})
    answers = [f"answer {n}" for n in range(12) if n % 3 == 2]
    images = [f"image {n}" for n in range(12) if n % 3 != 2]
    again = Outbox(tmp_path / "outbox", "sat", 4096)
    for box in (outbox, again):
        assert frames(box) == answers + images
        assert frames(box, express=True) == answers and frames(box, express=False) == images
    again.add_answer("late", b"yes", {})
    again.add_image("later", bytes(5000), {})
    assert frames(again) == [*answers, "late", *images, "later"]


class Broker(threading.Thread):
    """Accepts MQTT sessions, notes what is published by topic, and never replies to it."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._door.getsockname()[1]
        self.published: list[tuple[int, str, bytes]] = []  # (connection, topic, payload)
        self._buffers: dict[socket.socket, bytearray] = {}
        self._numbers: dict[socket.socket, int] = {}
        self._closing = threading.Event()
        self.start()

    @property
    def sessions(self) -> int:
        return len(self._numbers)

    def run(self) -> None:
        while not self._closing.is_set():
            for ready in select.select([self._door, *self._buffers], [], [], 0.05)[0]:
                if ready is self._door:
                    opened, _ = self._door.accept()
                    self._buffers[opened] = bytearray()
                    self._numbers[opened] = len(self._numbers)
                else:
                    self._read(ready)

    def close(self) -> None:
        self._closing.set()
        self.join(5)
        for opened in [self._door, *self._buffers]:
            opened.close()

    def _read(self, opened: socket.socket) -> None:
        data = b""
        with contextlib.suppress(OSError):
            data = opened.recv(65536)
        if not data:
            del self._buffers[opened]
            opened.close()
            return
        buffer = self._buffers[opened]
        buffer += data
        while (packet := _take_packet(buffer)) is not None:
            kind, body = packet
            if kind == 1:
                opened.sendall(b"\x20\x02\x00\x00")
            elif kind == 3:
                end = 2 + int.from_bytes(body[:2], "big")
                self.published.append((self._numbers[opened], body[2:end].decode(), body[end:]))


def _take_packet(buffer: bytearray) -> tuple[int, bytes] | None:
    length = shift = 0
    for position in range(1, min(5, len(buffer))):
        length |= (buffer[position] & 0x7F) << shift
        shift += 7
        if buffer[position] < 0x80:
            end = position + 1 + length
            if end > len(buffer):
                return None
            packet = buffer[0] >> 4, bytes(buffer[position + 1 : end])
            del buffer[:end]
            return packet
    return None


@pytest.fixture
def brokers() -> Iterator[tuple[Broker, Broker]]:
    both = Broker(), Broker()
    yield both
    for broker in both:
        broker.close()


def downlink(
    folder: Path, brokers: tuple[Broker, ...], report: Recorder, beat_s: float
) -> tuple[Downlink, Outbox]:
    outbox = Outbox(folder / "outbox", "sat", 4096, report=report)
    stations = {
        Station(name=f"G{number}", host="127.0.0.1", port=broker.port): CarrierWatch(None)
        for number, broker in enumerate(brokers)
    }
    thread = Downlink(
        satellite="Sat",
        stations=stations,
        outbox=outbox,
        rate_bit_s=1e6,
        report=report,
        heartbeat_s=beat_s,
    )
    return thread, outbox


def test_answers_and_heartbeats_have_a_connection_of_their_own(
    tmp_path: Path, brokers: tuple[Broker, Broker]
) -> None:
    broker = brokers[0]
    thread, outbox = downlink(tmp_path, brokers[:1], Recorder(), 0.1)
    outbox.add_image("image", bytes(1_000_000), {})
    outbox.add_answer("answer", b"yes", {})
    thread.start()
    try:
        wait_for(lambda: len(broker.published) > 8, "payloads")
    finally:
        thread.stop()
        thread.join(5)
    kinds: dict[str, set[tuple[int, str]]] = {}
    for connection, topic, payload in broker.published:
        message = decode_downward(payload)
        kind = message.kind if isinstance(message, Manifest) else type(message).__name__
        kinds.setdefault(kind, set()).add((connection, topic))
    (bulk,), (express,) = kinds["image"], kinds["answer"]
    assert bulk[1] == topics.down("sat") and express[1] == topics.express("sat")
    assert bulk[0] != express[0], "an answer would wait behind an image"
    assert kinds["Chunk"] == {bulk} and kinds["Heartbeat"] == {express}


def test_station_that_never_replies_is_left_for_another_and_shunned(
    tmp_path: Path, brokers: tuple[Broker, Broker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Window, "silence_s", lambda window: 0.05)
    monkeypatch.setattr("nodes.transfer.downlink.TIDY_S", 0.05)
    silent, other = brokers
    report = Recorder()
    thread, outbox = downlink(tmp_path, brokers, report, 0.0)
    outbox.add_image("image", bytes(20_000), {})
    thread.start()
    try:
        wait_for(lambda: bool(other.published), "the other station")
        assert silent.sessions == 2, "it was tried again, although it is shunned"
    finally:
        thread.stop()
        thread.join(5)
    assert thread.failure is None
    left = [e["station"] for e in report.of("disconnected") if "no reply" in e["reason"]]
    assert left[0] == "G0"
