"""Payloads of the transfer protocol, version 1: msgpack maps, checked on the way in."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast

import msgpack

VERSION = 1
ID_BYTES = 16
SHA256_BYTES = 32
INLINE_LIMIT_BYTES = 4096  # an item of up to this size travels inside its manifest
CHUNK_MIN_BYTES = 1024
CHUNK_MAX_BYTES = 256 * 1024
SIZE_MAX_BYTES = 1 << 32
CHUNKS_MAX = 1 << 20  # bounds the bitmap: 128 KiB
METADATA_MAX_ENTRIES = 32
METADATA_MAX_TEXT = 8000

Kind = Literal["answer", "image"]
Scalar: TypeAlias = "str | int | float | bool | None"
Metadata: TypeAlias = Mapping[str, Scalar]

DOWN_TOPIC = "spaceverse/down/{satellite}"
EXPRESS_TOPIC = "spaceverse/down/{satellite}/express"
UP_TOPIC = "spaceverse/up/{satellite}"
HELLO_TOPIC = "spaceverse/up"


class MalformedError(ValueError):
    """A payload that is not of this protocol; refused and counted, never acted upon."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """Announces one item, and asks what the ground has of it.

    `data` is the whole item if that is at most INLINE_LIMIT_BYTES, else None. `query` counts the manifests
    that were sent for this item; the reply repeats it. A smaller `priority` goes first. From scenario
    second `expires_s` on the item is worthless; None means never.
    """

    item_id: bytes
    kind: Kind
    frame: str
    size_bytes: int
    sha256: bytes
    chunk_bytes: int
    priority: int
    metadata: Metadata
    expires_s: float | None = None
    query: int = 0
    data: bytes | None = None

    @property
    def chunks(self) -> int:
        """Number of chunks; 0 when the data travels inside."""
        return 0 if self.inline else -(-self.size_bytes // self.chunk_bytes)

    @property
    def inline(self) -> bool:
        """Whether the item is small enough to travel inside its manifest."""
        return self.size_bytes <= INLINE_LIMIT_BYTES

    def chunk_length(self, index: int) -> int:
        """Bytes of chunk `index`; the last one may be short."""
        return min(self.chunk_bytes, self.size_bytes - index * self.chunk_bytes)


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of an item, by its offset in bytes."""

    item_id: bytes
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The satellite is alive; said at `monotonic_s` of its CLOCK_MONOTONIC, scenario second `time_s`.

    `pending` items with `pending_bytes` wait in its outbox; it has seen `contacts` begin.
    """

    monotonic_s: float
    time_s: float | None
    pending: int
    pending_bytes: int
    contacts: int


@dataclass(frozen=True, slots=True)
class Have:
    """What the ground has: every chunk below `base`, and of those from `base` on the set bits (LSB first).

    What `bitmap` does not reach is missing.
    """

    item_id: bytes
    query: int
    base: int
    bitmap: bytes


@dataclass(frozen=True, slots=True)
class Done:
    """The item is whole, verified and on disk."""

    item_id: bytes


@dataclass(frozen=True, slots=True)
class Refused:
    """The item will not be accepted; do not send it again."""

    item_id: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class Wait:
    """There is no room for the item now; ask again in a while."""

    item_id: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """A chunk came whose manifest the ground does not have."""

    item_id: bytes


@dataclass(frozen=True, slots=True)
class Hello:
    """A ground program has just subscribed: what was sent before may be lost."""


Downward: TypeAlias = "Manifest | Chunk | Heartbeat"
Upward: TypeAlias = "Have | Done | Refused | Wait | Unknown | Hello"


def item_id(satellite: str, kind: Kind, frame: str, sha256: bytes) -> bytes:
    """The id of an item: the same for the same content of the same satellite, and of no other's."""
    identity = [satellite.encode(), kind.encode(), frame.encode(), sha256]
    return hashlib.sha256(b"\0".join(identity)).digest()[:ID_BYTES]


def encode(message: Downward | Upward) -> bytes:
    """The payload of a message."""
    fields: dict[str, Any]
    match message:
        case Manifest():
            fields = {
                "t": "manifest",
                "id": message.item_id,
                "kind": message.kind,
                "frame": message.frame,
                "size": message.size_bytes,
                "sha256": message.sha256,
                "chunk": message.chunk_bytes,
                "priority": message.priority,
                "meta": dict(message.metadata),
                "query": message.query,
            }
            if message.expires_s is not None:
                fields["expires"] = message.expires_s
            if message.data is not None:
                fields["data"] = message.data
        case Chunk():
            fields = {"t": "chunk", "id": message.item_id, "offset": message.offset, "data": message.data}
        case Heartbeat():
            fields = {
                "t": "heartbeat",
                "monotonic": message.monotonic_s,
                "time": message.time_s,
                "pending": message.pending,
                "bytes": message.pending_bytes,
                "contacts": message.contacts,
            }
        case Have():
            fields = {
                "t": "have",
                "id": message.item_id,
                "query": message.query,
                "base": message.base,
                "bits": message.bitmap,
            }
        case Done():
            fields = {"t": "done", "id": message.item_id}
        case Refused():
            fields = {"t": "refused", "id": message.item_id, "reason": message.reason}
        case Wait():
            fields = {"t": "wait", "id": message.item_id, "reason": message.reason}
        case Unknown():
            fields = {"t": "unknown", "id": message.item_id}
        case Hello():
            fields = {"t": "hello"}
    return cast(bytes, msgpack.packb({"v": VERSION, **fields}))


def decode_downward(payload: bytes) -> Downward:
    """Read what a satellite sent. Raises MalformedError, and nothing else, for any other bytes."""
    fields = _fields(payload)
    match fields.get("t"):
        case "manifest":
            return _manifest(fields)
        case "chunk":
            data = _bytes(fields, "data", 1, CHUNK_MAX_BYTES)
            return Chunk(_id(fields), _integer(fields, "offset", 0, SIZE_MAX_BYTES), data)
        case "heartbeat":
            return Heartbeat(
                monotonic_s=_number(fields, "monotonic"),
                time_s=None if fields.get("time") is None else _number(fields, "time"),
                pending=_integer(fields, "pending", 0, 1 << 62),
                pending_bytes=_integer(fields, "bytes", 0, 1 << 62),
                contacts=_integer(fields, "contacts", 0, 1 << 62),
            )
        case other:
            raise MalformedError(f"type {_shown(other)} is not one that a satellite sends")


def decode_upward(payload: bytes) -> Upward:
    """Read what the ground sent. Raises MalformedError, and nothing else, for any other bytes."""
    fields = _fields(payload)
    match fields.get("t"):
        case "have":
            query = _integer(fields, "query", 0, 1 << 62)
            base = _integer(fields, "base", 0, CHUNKS_MAX)
            return Have(_id(fields), query, base, _bytes(fields, "bits", 0, CHUNKS_MAX // 8 + 1))
        case "done":
            return Done(_id(fields))
        case "refused":
            return Refused(_id(fields), _text(fields, "reason", 500))
        case "wait":
            return Wait(_id(fields), _text(fields, "reason", 500))
        case "unknown":
            return Unknown(_id(fields))
        case "hello":
            return Hello()
        case other:
            raise MalformedError(f"type {_shown(other)} is not one that the ground sends")


def _manifest(fields: dict[str, Any]) -> Manifest:
    kind = fields.get("kind")
    if kind != "answer" and kind != "image":  # noqa: PLR1714 - so mypy narrows it
        raise MalformedError(f"kind {_shown(kind)} is neither answer nor image")
    manifest = Manifest(
        item_id=_id(fields),
        kind=kind,
        frame=_text(fields, "frame", 200),
        size_bytes=_integer(fields, "size", 1, SIZE_MAX_BYTES),
        sha256=_bytes(fields, "sha256", SHA256_BYTES, SHA256_BYTES),
        chunk_bytes=_integer(fields, "chunk", CHUNK_MIN_BYTES, CHUNK_MAX_BYTES),
        priority=_integer(fields, "priority", 0, 255),
        metadata=_metadata(fields.get("meta")),
        expires_s=_number(fields, "expires") if "expires" in fields else None,
        query=_integer(fields, "query", 0, 1 << 62),
        data=_bytes(fields, "data", 1, INLINE_LIMIT_BYTES) if "data" in fields else None,
    )
    if manifest.data is not None and len(manifest.data) != manifest.size_bytes:
        raise MalformedError(f"size is {manifest.size_bytes}, yet {len(manifest.data)} bytes are inside")
    if manifest.inline != (manifest.data is not None):
        raise MalformedError(
            f"an item is inside its manifest if it has up to {INLINE_LIMIT_BYTES} bytes, else not"
        )
    if manifest.chunks > CHUNKS_MAX:
        raise MalformedError(f"{manifest.chunks} chunks; at most {CHUNKS_MAX} are allowed")
    return manifest


def _fields(payload: bytes) -> dict[str, Any]:
    try:
        fields = msgpack.unpackb(payload, raw=False, strict_map_key=True)
    except Exception as error:  # msgpack raises half a dozen unrelated types on foreign bytes
        raise MalformedError(f"not msgpack: {type(error).__name__}") from error
    if not isinstance(fields, dict):
        raise MalformedError("not a map")
    if fields.get("v") != VERSION:
        raise MalformedError(f"version {_shown(fields.get('v'))}; this end speaks {VERSION}")
    return fields


def _id(fields: dict[str, Any]) -> bytes:
    return _bytes(fields, "id", ID_BYTES, ID_BYTES)


def _bytes(fields: dict[str, Any], key: str, low: int, high: int) -> bytes:
    value = fields.get(key)
    if not isinstance(value, bytes) or not low <= len(value) <= high:
        raise MalformedError(f"{key} is not {low} to {high} bytes")
    return value


def _integer(fields: dict[str, Any], key: str, low: int, high: int) -> int:
    value = fields.get(key)
    if type(value) is not int or not low <= value <= high:
        raise MalformedError(f"{key} is not a whole number from {low} to {high}")
    return value


def _number(fields: dict[str, Any], key: str) -> float:
    value = fields.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise MalformedError(f"{key} is not a number")
    return float(value)


def _text(fields: dict[str, Any], key: str, limit: int) -> str:
    value = fields.get(key)
    if not isinstance(value, str) or len(value) > limit:
        raise MalformedError(f"{key} is not a text of up to {limit} characters")
    return value


def _metadata(value: object) -> Metadata:
    if not isinstance(value, dict) or len(value) > METADATA_MAX_ENTRIES:
        raise MalformedError(f"meta is not a map of up to {METADATA_MAX_ENTRIES} entries")
    for key, entry in value.items():
        if not isinstance(key, str) or not isinstance(entry, str | int | float | bool | None):
            raise MalformedError("meta holds more than texts and numbers")
        if len(key) > METADATA_MAX_TEXT or (isinstance(entry, str) and len(entry) > METADATA_MAX_TEXT):
            raise MalformedError(f"meta holds a text of more than {METADATA_MAX_TEXT} characters")
    return value


def _shown(value: object) -> str:
    return repr(value)[:40]
