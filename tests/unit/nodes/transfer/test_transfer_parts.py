"""Parts of the transfer that need no broker: bitmap, chunk sizes, window, payloads."""

from __future__ import annotations

import contextlib

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from nodes.transfer.chunk_map import ChunkMap
from nodes.transfer.flow_control import Window, chunk_size_bytes
from nodes.transfer.messages import (
    Chunk,
    Done,
    Downward,
    Have,
    Heartbeat,
    Hello,
    MalformedError,
    Manifest,
    Refused,
    Unknown,
    Upward,
    Wait,
    decode_downward,
    decode_upward,
    encode,
)

IMAGE = Manifest(
    item_id=b"i" * 16,
    kind="image",
    frame="dam-1",
    size_bytes=10_000,
    sha256=b"s" * 32,
    chunk_bytes=4096,
    priority=1,
    metadata={"prompt": "Is the dam overtopping?", "capture_s": 3.5},
    query=2,
)
ANSWER = Manifest(
    item_id=b"j" * 16,
    kind="answer",
    frame="dam-1",
    size_bytes=3,
    sha256=b"s" * 32,
    chunk_bytes=4096,
    priority=0,
    metadata={},
    query=1,
    data=b"yes",
)


@given(st.sets(st.integers(0, 99)))
def test_bitmap_survives_the_wire(there: set[int]) -> None:
    chunks = ChunkMap(100)
    assert all(chunks.add(index) for index in there)
    assert not any(chunks.add(index) for index in there)
    base, bitmap = chunks.from_first_missing()
    again = ChunkMap.from_base(100, base, bitmap)
    assert {index for index in range(100) if index in again} == there
    assert again.present == len(there)
    assert again.first_missing() == base == min(set(range(101)) - there)
    assert again.complete == (len(there) == 100)


def test_bitmap_in_order_is_empty() -> None:
    chunks = ChunkMap(20)
    for index in range(11):
        chunks.add(index)
    assert chunks.from_first_missing() == (11, b"")
    assert ChunkMap(20, b"\xff\x07").present == 11


@given(st.sets(st.integers(0, 99)), st.sets(st.integers(0, 99)))
def test_chunks_can_be_taken_back(there: set[int], damaged: set[int]) -> None:
    chunks = ChunkMap(100)
    for index in there:
        chunks.add(index)
    assert chunks.first_missing() == min(set(range(101)) - there)
    for index in damaged:
        chunks.remove(index)
    assert {index for index in range(100) if index in chunks} == there - damaged
    assert chunks.present == len(there - damaged)
    assert chunks.first_missing() == min(set(range(101)) - (there - damaged))


def test_bitmap_ignores_bits_beyond_its_end() -> None:
    assert ChunkMap(3, b"\xff\xff").complete
    assert ChunkMap.from_base(3, 99, b"\xff").present == 3


@pytest.mark.parametrize(
    ("rate_bit_s", "size_bytes"),
    [(9_600, 4 * 1024), (2e6, 24 * 1024), (10e6, 122 * 1024), (220e6, 256 * 1024)],
)
def test_chunk_is_a_tenth_of_a_second_within_bounds(rate_bit_s: float, size_bytes: int) -> None:
    assert chunk_size_bytes(rate_bit_s) == size_bytes


def test_window_follows_a_line_slower_than_planned() -> None:
    window = Window(20e6)
    window.connected(rtt_s=0.1, now_s=0.0)
    assert window.limit_bytes == pytest.approx(20e6 / 8 * 0.35)
    now_s = 10.0
    rate_byte_s = 10e6 / 8
    for _ in range(400):
        latency_s = window.limit_bytes / rate_byte_s
        now_s += 10_000 / rate_byte_s
        window.acknowledged(10_000, latency_s, True, now_s)
    # Never below two chunks.
    assert window.limit_bytes == pytest.approx(max(rate_byte_s * 0.35, 2 * chunk_size_bytes(20e6)), rel=0.05)


def test_window_ignores_what_did_not_fill_it() -> None:
    window = Window(20e6)
    window.connected(rtt_s=0.1, now_s=0.0)
    before = window.limit_bytes
    for step in range(1000):
        window.acknowledged(100_000, 0.05, False, 10.0 + step)
    assert window.limit_bytes == before


@pytest.mark.parametrize(
    "message",
    [
        IMAGE,
        ANSWER,
        replace(IMAGE, expires_s=12.5),
        Chunk(b"i" * 16, 4096, b"data"),
        Heartbeat(monotonic_s=1.5, time_s=None, pending=3, pending_bytes=4000, contacts=2),
    ],
)
def test_downward_round_trip(message: Downward) -> None:
    assert decode_downward(encode(message)) == message


@pytest.mark.parametrize(
    "message",
    [
        Have(b"i" * 16, 3, 7, b"\x05"),
        Done(b"i" * 16),
        Refused(b"i" * 16, "no"),
        Wait(b"i" * 16, "full"),
        Unknown(b"i" * 16),
        Hello(),
    ],
)
def test_upward_round_trip(message: Upward) -> None:
    assert decode_upward(encode(message)) == message


def test_unknown_keys_are_ignored() -> None:
    fields = msgpack.unpackb(encode(IMAGE))
    assert decode_downward(msgpack.packb({**fields, "colour": 12.0})) == IMAGE


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2},
        {"v": None},
        {"t": "have"},
        {"t": ["chunk"]},
        {"id": b"short"},
        {"id": "text"},
        {"kind": "virus"},
        {"kind": {}},
        {"size": 0},
        {"size": 1 << 40},
        {"size": True},
        {"size": 10.0},
        {"size": 100},  # would have to be inside
        {"chunk": 1},
        {"chunk": 1 << 30},
        {"size": 1 << 32, "chunk": 1024},  # too many chunks
        {"sha256": b""},
        {"priority": -1},
        {"meta": None},
        {"meta": {"a": [1]}},
        {"meta": {"a": "x" * 10_000}},
        {"meta": {str(i): i for i in range(100)}},
        {"data": b"x"},
        {"frame": "x" * 1000},
        {"expires": "soon"},
        {"expires": float("nan")},
        {"expires": True},
    ],
)
def test_manifest_with_one_wrong_field_is_refused(change: dict[str, object]) -> None:
    fields = msgpack.unpackb(encode(IMAGE))
    with pytest.raises(MalformedError):
        decode_downward(msgpack.packb({**fields, **change}))


@given(st.binary(max_size=300))
def test_random_bytes_are_refused(payload: bytes) -> None:
    for decode in (decode_downward, decode_upward):
        with pytest.raises(MalformedError):
            decode(payload)


@given(st.integers(0, 400), st.integers(0, 255))
def test_damaged_payload_is_refused_or_still_a_message(position: int, value: int) -> None:
    payload = bytearray(encode(IMAGE))
    payload[position % len(payload)] = value
    with contextlib.suppress(MalformedError):
        assert isinstance(decode_downward(bytes(payload)), Manifest)


def test_chunks_of_a_manifest_cover_it() -> None:
    assert IMAGE.chunks == 3
    assert [IMAGE.chunk_length(index) for index in range(3)] == [4096, 4096, 1808]
    assert ANSWER.chunks == 0


@pytest.mark.parametrize("speed", [1, 7, 50])
def test_a_faster_link_has_the_same_window_in_bytes(speed: int) -> None:
    windows = [Window(20e6), Window(20e6)]
    windows[1].speed = speed
    for window in windows:
        now_s, rate_byte_s = 10.0, 10e6 / 8
        window.connected(0.1 / window.speed, now_s)
        for _ in range(400):
            latency_s = window.limit_bytes / rate_byte_s
            now_s += 10_000 / rate_byte_s
            window.acknowledged(10_000, latency_s / window.speed, True, 10.0 + (now_s - 10.0) / window.speed)
    real, fast = windows
    assert fast.limit_bytes == pytest.approx(real.limit_bytes, abs=2)
    assert fast.rate_byte_s == pytest.approx(real.rate_byte_s * speed, rel=1e-4)
    assert fast.silence_s() >= 1.0  # TCP repeats in real time
