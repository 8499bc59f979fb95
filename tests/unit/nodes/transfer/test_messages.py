"""Bytes of protocol version 1, recorded from its first implementation, and payloads that must be refused."""

from __future__ import annotations

import math
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.transfer.messages import (
    Again,
    Chunk,
    Coming,
    Done,
    Downward,
    Gone,
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

ID = b"i" * 16
SHA256 = b"s" * 32
METADATA = {
    "prompt": "Is the dam overtopping?",
    "capture_s": 3.5,
    "tries": -70000,
    "cloudy": True,
    "policy": None,
}
DOWNWARD: dict[str, tuple[Downward, bytes]] = {
    "image": (
        Manifest(
            item_id=ID,
            kind="image",
            frame="dam-1",
            size_bytes=10_000,
            sha256=SHA256,
            chunk_bytes=4096,
            priority=1,
            metadata=METADATA,
            query=2,
        ),
        bytes.fromhex(
            "8ba17601a174a86d616e6966657374a26964c41069696969696969696969696969696969a46b696e64a5696d"
            "616765a56672616d65a564616d2d31a473697a65cd2710a6736861323536c420737373737373737373737373"
            "7373737373737373737373737373737373737373a56368756e6bcd1000a87072696f7269747901a46d657461"
            "85a670726f6d7074b74973207468652064616d206f766572746f7070696e673fa9636170747572655f73cb40"
            "0c000000000000a57472696573d2fffeee90a6636c6f756479c3a6706f6c696379c0a5717565727902"
        ),
    ),
    "image that expires": (
        Manifest(
            item_id=ID,
            kind="image",
            frame="Überlauf",
            size_bytes=1 << 32,
            sha256=SHA256,
            chunk_bytes=262144,
            priority=255,
            metadata={},
            query=1 << 40,
            expires_s=12.5,
        ),
        bytes.fromhex(
            "8ca17601a174a86d616e6966657374a26964c41069696969696969696969696969696969a46b696e64a5696d"
            "616765a56672616d65a9c39c6265726c617566a473697a65cf0000000100000000a6736861323536c4207373"
            "737373737373737373737373737373737373737373737373737373737373a56368756e6bce00040000a87072"
            "696f72697479ccffa46d65746180a57175657279cf0000010000000000a765787069726573cb402900000000"
            "0000"
        ),
    ),
    "answer": (
        Manifest(
            item_id=ID,
            kind="answer",
            frame="dam-1",
            size_bytes=3,
            sha256=SHA256,
            chunk_bytes=4096,
            priority=0,
            metadata={"a": 1},
            query=0,
            data=b"yes",
        ),
        bytes.fromhex(
            "8ca17601a174a86d616e6966657374a26964c41069696969696969696969696969696969a46b696e64a6616e"
            "73776572a56672616d65a564616d2d31a473697a6503a6736861323536c42073737373737373737373737373"
            "73737373737373737373737373737373737373a56368756e6bcd1000a87072696f7269747900a46d65746181"
            "a16101a5717565727900a464617461c403796573"
        ),
    ),
    "answer that expires": (
        Manifest(
            item_id=ID,
            kind="answer",
            frame="dam-2",
            size_bytes=3,
            sha256=SHA256,
            chunk_bytes=4096,
            priority=0,
            metadata={},
            query=0,
            expires_s=3600.0,
            data=b"yyy",
        ),
        bytes.fromhex(
            "8da17601a174a86d616e6966657374a26964c41069696969696969696969696969696969a46b696e64a6616e"
            "73776572a56672616d65a564616d2d32a473697a6503a6736861323536c42073737373737373737373737373"
            "73737373737373737373737373737373737373a56368756e6bcd1000a87072696f7269747900a46d65746180"
            "a5717565727900a765787069726573cb40ac200000000000a464617461c403797979"
        ),
    ),
    "chunk": (
        Chunk(ID, 4096, b"data"),
        bytes.fromhex(
            "85a17601a174a56368756e6ba26964c41069696969696969696969696969696969a66f6666736574cd1000a4"
            "64617461c40464617461"
        ),
    ),
    "heartbeat": (
        Heartbeat(monotonic_s=1.5, time_s=2.25, pending=3, pending_bytes=4000, contacts=2),
        bytes.fromhex(
            "87a17601a174a9686561727462656174a96d6f6e6f746f6e6963cb3ff8000000000000a474696d65cb400200"
            "0000000000a770656e64696e6703a56279746573cd0fa0a8636f6e746163747302"
        ),
    ),
    "heartbeat before the start": (
        Heartbeat(monotonic_s=1.5, time_s=None, pending=0, pending_bytes=0, contacts=0),
        bytes.fromhex(
            "87a17601a174a9686561727462656174a96d6f6e6f746f6e6963cb3ff8000000000000a474696d65c0a77065"
            "6e64696e6700a5627974657300a8636f6e746163747300"
        ),
    ),
    "coming": (
        Coming(ID),
        bytes.fromhex("83a17601a174a6636f6d696e67a26964c41069696969696969696969696969696969"),
    ),
    "gone": (
        Gone(ID, "no room"),
        bytes.fromhex(
            "84a17601a174a4676f6e65a26964c41069696969696969696969696969696969a6726561736f6ea76e6f20726f6f6d"
        ),
    ),
}
UPWARD: dict[str, tuple[Upward, bytes]] = {
    "have": (
        Have(ID, 3, 7, b"\x05"),
        bytes.fromhex(
            "86a17601a174a468617665a26964c41069696969696969696969696969696969a5717565727903a462617365"
            "07a462697473c40105"
        ),
    ),
    "have nothing": (
        Have(ID, 1, 0, b""),
        bytes.fromhex(
            "86a17601a174a468617665a26964c41069696969696969696969696969696969a5717565727901a462617365"
            "00a462697473c400"
        ),
    ),
    "done": (
        Done(ID),
        bytes.fromhex("83a17601a174a4646f6e65a26964c41069696969696969696969696969696969"),
    ),
    "refused": (
        Refused(ID, "expired"),
        bytes.fromhex(
            "84a17601a174a772656675736564a26964c41069696969696969696969696969696969a6726561736f6ea765"
            "787069726564"
        ),
    ),
    "wait": (
        Wait(ID, "the inbox is full"),
        bytes.fromhex(
            "84a17601a174a477616974a26964c41069696969696969696969696969696969a6726561736f6eb174686520"
            "696e626f782069732066756c6c"
        ),
    ),
    "unknown": (
        Unknown(ID),
        bytes.fromhex("83a17601a174a7756e6b6e6f776ea26964c41069696969696969696969696969696969"),
    ),
    "again": (
        Again(ID, SHA256),
        bytes.fromhex(
            "84a17601a174a5616761696ea26964c41069696969696969696969696969696969a6736861323536c4207373"
            "737373737373737373737373737373737373737373737373737373737373"
        ),
    ),
    "hello": (
        Hello(),
        bytes.fromhex("82a17601a174a568656c6c6f"),
    ),
}


@pytest.mark.parametrize(("message", "recorded"), DOWNWARD.values(), ids=DOWNWARD)
def test_messages_of_a_satellite_are_the_recorded_bytes(message: Downward, recorded: bytes) -> None:
    assert encode(message) == recorded
    assert decode_downward(recorded) == message
    with pytest.raises(MalformedError):
        decode_upward(recorded)


@pytest.mark.parametrize(("message", "recorded"), UPWARD.values(), ids=UPWARD)
def test_messages_of_the_ground_are_the_recorded_bytes(message: Upward, recorded: bytes) -> None:
    assert encode(message) == recorded
    assert decode_upward(recorded) == message
    with pytest.raises(MalformedError):
        decode_downward(recorded)


@pytest.mark.parametrize(("_", "recorded"), DOWNWARD.values(), ids=DOWNWARD)
def test_the_order_of_a_map_means_nothing(_: Downward, recorded: bytes) -> None:
    fields = msgpack.unpackb(recorded)
    shuffled = msgpack.packb(dict(reversed(fields.items())))
    assert decode_downward(shuffled) == decode_downward(recorded)


REQUIRED = {name: set(msgpack.unpackb(recorded)) for name, (_, recorded) in (DOWNWARD | UPWARD).items()}
OPTIONAL = {"expires", "time"}


@pytest.mark.parametrize(
    ("name", "key"), [(name, key) for name, keys in REQUIRED.items() for key in sorted(keys - OPTIONAL)]
)
@pytest.mark.parametrize("how", ["missing", "nil", "map", "below its range", "above its range", "not finite"])
def test_a_message_without_a_right_value_for_each_key_is_refused(name: str, key: str, how: str) -> None:
    (_, recorded), decode = (
        (DOWNWARD[name], decode_downward) if name in DOWNWARD else (UPWARD[name], decode_upward)
    )
    fields: dict[str, Any] = msgpack.unpackb(recorded)
    value = fields.pop(key)
    wrong: Any = {
        "nil": None,
        "map": {"map": [1]},
        "below its range": b"" if isinstance(value, bytes) else 0.5 if isinstance(value, str) else -1,
        "above its range": b"x" * 300_000 if isinstance(value, bytes) else "x" * 300_000,
        "not finite": math.inf,
    }
    if how != "missing":
        fields[key] = wrong[how]
    if (how, key) in {("below its range", "monotonic"), ("below its range", "bits")}:
        return  # a clock may be negative, a bitmap empty
    with pytest.raises(MalformedError) as error:
        decode(msgpack.packb(fields))
    assert len(str(error.value)) <= 200


@pytest.mark.parametrize("key", ["expires", "data"])
def test_optional_keys_are_absent_and_never_nil(key: str) -> None:
    fields = msgpack.unpackb(DOWNWARD["image"][1])
    with pytest.raises(MalformedError):
        decode_downward(msgpack.packb({**fields, key: None}))


@pytest.mark.parametrize("value", [{1: 2}, [{"a": {2.5: 1}}], [[[{None: 0}]]]])
def test_what_is_ignored_has_to_be_well_formed(value: object) -> None:
    fields = msgpack.unpackb(DOWNWARD["image"][1])
    good = {"texts": ["a", {"b": [1.5, None, b"c"]}]}
    assert decode_downward(msgpack.packb({**fields, "colour": good})) == DOWNWARD["image"][0]
    with pytest.raises(MalformedError):
        decode_downward(msgpack.packb({**fields, "colour": value}))
    with pytest.raises(MalformedError):
        decode_upward(msgpack.packb({"v": 1, "t": "hello", "colour": value}))


@pytest.mark.parametrize("entry", [b"\xa2\xffa\x01", b"\xa1a\xa1\xff", b"\xa1a\x91\x81\xa1\xff\x00"])
def test_text_that_is_not_utf_8_is_refused_also_where_it_is_ignored(entry: bytes) -> None:
    with pytest.raises(MalformedError):
        decode_upward(b"\x83\xa1v\x01\xa1t\xa5hello" + entry)


@pytest.mark.parametrize("version", [None, 0, 2, 1.0, True, "1", b"\x01", [1], "x" * 1000])
def test_another_version_is_refused_and_named(version: object) -> None:
    with pytest.raises(MalformedError, match="not supported; expected 1") as error:
        decode_upward(msgpack.packb({"v": version, "t": "hello"}))
    assert len(str(error.value)) < 80
    with pytest.raises(MalformedError, match="not supported; expected 1"):
        decode_upward(msgpack.packb({"t": "hello"}))


@pytest.mark.parametrize("number", [1, 1.5, -3, 1 << 63])
def test_whole_numbers_are_taken_for_times(number: float) -> None:
    fields = msgpack.unpackb(DOWNWARD["heartbeat"][1])
    message = decode_downward(msgpack.packb({**fields, "monotonic": number}))
    assert isinstance(message, Heartbeat) and message.monotonic_s == number
    assert type(message.monotonic_s) is float


def test_numbers_of_numpy_travel_in_metadata() -> None:
    manifest, _ = DOWNWARD["answer"]
    assert isinstance(manifest, Manifest)
    changed = Manifest(
        **{name: getattr(manifest, name) for name in manifest.__struct_fields__}
        | {"metadata": {"confidence": np.float64(0.5)}}
    )
    message = decode_downward(encode(changed))
    assert isinstance(message, Manifest) and message.metadata == {"confidence": 0.5}


@given(st.sampled_from(sorted(DOWNWARD)), st.integers(0, 400), st.integers(0, 255))
def test_a_damaged_message_is_refused_or_still_one(name: str, position: int, value: int) -> None:
    payload = bytearray(DOWNWARD[name][1])
    payload[position % len(payload)] = value
    try:
        message = decode_downward(bytes(payload))
    except MalformedError:
        return
    assert isinstance(message, Downward)


@pytest.mark.parametrize(
    "payload",
    [b"", b"\xc1", b"\x90", b"\x91" * 100_000, b"\x81\xa1v" + b"\x91" * 100_000, b"\x81\xa1\xff\x01",
     b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\x82\xa1v\x01\xa1t\xdd\xff\xff\xff\xff"],
)  # fmt: skip
def test_bytes_that_are_no_map_or_claim_a_huge_one_are_refused(payload: bytes) -> None:
    for decode in (decode_downward, decode_upward):
        with pytest.raises(MalformedError):
            decode(payload)
