"""Messages of the transfer protocol, version 1: msgpack maps, checked as they are decoded."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from itertools import accumulate
from typing import Annotated, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType, field
from msgspec.structs import replace

VERSION = 1
ID_BYTES = 16
SHA256_BYTES = 32
INLINE_LIMIT_BYTES = 4096  # an item of up to this size travels inside its manifest
CHUNK_MIN_BYTES = 1024
CHUNK_MAX_BYTES = 256 * 1024
SIZE_MAX_BYTES = 1 << 32
CHUNKS_MAX = 1 << 20  # bounds the bitmap: 128 KiB
PIECES_MAX = 1024  # of a manifest, which they make 13 kB long
PIECE_DIGEST_BYTES = 8
METADATA_MAX_ENTRIES = 32
METADATA_MAX_TEXT = 8000
DEPTH_MAX = 16  # of the values of unknown keys
_PROBLEM_MAX_TEXT = 200  # msgspec quotes values, which may be as long as a payload

Kind = Literal["answer", "image", "task"]
MetadataText: TypeAlias = Annotated[str, Meta(max_length=METADATA_MAX_TEXT)]
Metadata: TypeAlias = Mapping[MetadataText, MetadataText | int | float | bool | None]

ItemId: TypeAlias = Annotated[bytes, Meta(min_length=ID_BYTES, max_length=ID_BYTES)]
Sha256: TypeAlias = Annotated[bytes, Meta(min_length=SHA256_BYTES, max_length=SHA256_BYTES)]
Count: TypeAlias = Annotated[int, Meta(ge=0, le=1 << 62)]
Seconds: TypeAlias = Annotated[float, Meta(ge=-sys.float_info.max, le=sys.float_info.max)]  # finite
Reason: TypeAlias = Annotated[str, Meta(max_length=500)]


class MalformedError(ValueError):
    """A payload violates the protocol; it is counted and otherwise ignored."""


class Piece(Struct, frozen=True, array_like=True):
    """Size and digest of a chunk that other items of the same picture may have, too."""

    size_bytes: Annotated[int, Meta(ge=1, le=CHUNK_MAX_BYTES)]
    digest: Annotated[bytes, Meta(min_length=PIECE_DIGEST_BYTES, max_length=PIECE_DIGEST_BYTES)]


# The order of the fields is their order on the wire.
class Manifest(Struct, frozen=True, kw_only=True, tag_field="t", tag="manifest"):
    """Announcement of one item, and a query for the chunks that the ground has.

    Attributes:
        item_id: identifies the item; see `item_id`.
        kind: kind of the item.
        frame: name of the frame that the item belongs to.
        size_bytes: size of the whole item.
        sha256: digest of the whole item.
        chunk_bytes: size of every chunk but the last, unless there are pieces.
        priority: a smaller number is sent first.
        metadata: strings and numbers for the ground program.
        query: number of manifests sent for this item so far; the reply repeats it.
        expires_s: scenario second from which the item is worthless; UNSET means never.
        data: the whole item if it has at most INLINE_LIMIT_BYTES, else UNSET.
        picture: names what was captured, and is equal for all items made of it, which share chunks.
            UNSET: it shares none.
        pieces: the chunks, if their sizes are their own; see nodes/transfer/pieces.
    """

    item_id: ItemId = field(name="id")
    kind: Kind
    frame: Annotated[str, Meta(max_length=200)]
    size_bytes: Annotated[int, Meta(ge=1, le=SIZE_MAX_BYTES)] = field(name="size")
    sha256: Sha256
    chunk_bytes: Annotated[int, Meta(ge=CHUNK_MIN_BYTES, le=CHUNK_MAX_BYTES)] = field(name="chunk")
    priority: Annotated[int, Meta(ge=0, le=255)]
    metadata: Annotated[Metadata, Meta(max_length=METADATA_MAX_ENTRIES)] = field(name="meta")
    query: Count
    expires_s: Seconds | UnsetType = field(name="expires", default=UNSET)
    data: Annotated[bytes, Meta(min_length=1, max_length=INLINE_LIMIT_BYTES)] | UnsetType = UNSET
    picture: Annotated[bytes, Meta(min_length=ID_BYTES, max_length=ID_BYTES)] | UnsetType = UNSET
    pieces: Annotated[tuple[Piece, ...], Meta(min_length=1, max_length=PIECES_MAX)] | UnsetType = UNSET

    @property
    def chunks(self) -> int:
        """Number of chunks; 0 if the data travels inside the manifest."""
        if self.inline:
            return 0
        return -(-self.size_bytes // self.chunk_bytes) if self.pieces is UNSET else len(self.pieces)

    @property
    def inline(self) -> bool:
        """Whether the item is small enough to travel inside its manifest."""
        return self.size_bytes <= INLINE_LIMIT_BYTES

    @property
    def deadline_s(self) -> float | None:
        """Scenario second from which the item is worthless; None means never."""
        return None if self.expires_s is UNSET else self.expires_s

    def has_expired(self, time_s: float) -> bool:
        """Return whether the item is worthless at a scenario time."""
        return self.expires_s is not UNSET and self.expires_s <= time_s

    def chunk_length(self, index: int) -> int:
        """Return the number of bytes in chunk `index`; the last chunk may be short."""
        if self.pieces is not UNSET:
            return self.pieces[index].size_bytes
        return min(self.chunk_bytes, self.size_bytes - index * self.chunk_bytes)

    def chunk_offset(self, index: int) -> int:
        """Return where chunk `index` begins."""
        if self.pieces is not UNSET:
            return sum(piece.size_bytes for piece in self.pieces[:index])
        return index * self.chunk_bytes

    def chunk_at(self, offset: int) -> int | None:
        """Return the index of the chunk that begins at an offset, or None."""
        if self.pieces is not UNSET:
            begins = accumulate((piece.size_bytes for piece in self.pieces), initial=0)
            return next(
                (index for index, begin in enumerate(begins) if begin == offset < self.size_bytes), None
            )
        index, remainder = divmod(offset, self.chunk_bytes)
        return index if remainder == 0 and index < self.chunks else None

    def whole_pieces(self, chunks: int) -> int:
        """Return how many of the first chunks end where a piece of the message ends.

        A piece that is larger than a chunk is cut into full ones, and the rest ends it.
        """
        if self.pieces is UNSET:
            return 0
        ends = (index + 1 for index in range(chunks) if self.pieces[index].size_bytes < self.chunk_bytes)
        return max(ends, default=0)

    def cut(self, data: bytes, chunks: int) -> Manifest:
        """Return the manifest of the first chunks of this item, whose bytes are given; the id stays."""
        is_small = len(data) <= INLINE_LIMIT_BYTES
        return replace(
            self,
            size_bytes=len(data),
            sha256=hashlib.sha256(data).digest(),
            data=data if is_small else UNSET,
            pieces=UNSET if is_small or self.pieces is UNSET else self.pieces[:chunks],
        )

    def chunk_key(self, index: int) -> bytes | tuple[bytes, int, int]:
        """Return what is equal for chunks of equal content in items of the same picture."""
        if self.pieces is not UNSET:
            return self.pieces[index].digest
        return self.sha256, self.chunk_bytes, index


class Chunk(Struct, frozen=True, tag_field="t", tag="chunk"):
    """A piece of an item, starting `offset` bytes into it."""

    item_id: ItemId = field(name="id")
    offset: Annotated[int, Meta(ge=0, le=SIZE_MAX_BYTES)]
    data: Annotated[bytes, Meta(min_length=1, max_length=CHUNK_MAX_BYTES)]


class Heartbeat(Struct, frozen=True, kw_only=True, tag_field="t", tag="heartbeat"):
    """Heartbeat of a satellite.

    Attributes:
        monotonic_s: the satellite's CLOCK_MONOTONIC at the moment of sending.
        time_s: scenario time at this moment, or None before the run has announced it.
        pending: number of items in the outbox.
        pending_bytes: size of these items.
        contacts: number of contacts that have begun so far.
    """

    monotonic_s: Seconds = field(name="monotonic")
    time_s: Seconds | None = field(name="time", default=None)
    pending: Count
    pending_bytes: Count = field(name="bytes")
    contacts: Count


class Coming(Struct, frozen=True, tag_field="t", tag="coming"):
    """Reply to `Again`: the item waits to be sent."""

    item_id: ItemId = field(name="id")


class Gone(Struct, frozen=True, tag_field="t", tag="gone"):
    """Reply to `Again`: the satellite cannot send the item any more."""

    item_id: ItemId = field(name="id")
    reason: Reason


class Have(Struct, frozen=True, tag_field="t", tag="have"):
    """The chunks that the ground has.

    Attributes:
        item_id: the item.
        query: the `query` of the manifest that this replies to.
        base: every chunk below this index is present.
        bitmap: bits of the chunks from `base` on, least significant bit first; later chunks are missing.
    """

    item_id: ItemId = field(name="id")
    query: Count
    base: Annotated[int, Meta(ge=0, le=CHUNKS_MAX)]
    bitmap: Annotated[bytes, Meta(max_length=CHUNKS_MAX // 8 + 1)] = field(name="bits")


class Done(Struct, frozen=True, tag_field="t", tag="done"):
    """The item is complete, verified and on disk."""

    item_id: ItemId = field(name="id")


class Refused(Struct, frozen=True, tag_field="t", tag="refused"):
    """The ground does not accept the item; it must not be sent again."""

    item_id: ItemId = field(name="id")
    reason: Reason


class Wait(Struct, frozen=True, tag_field="t", tag="wait"):
    """The ground has no space for the item now; the satellite may offer it again later."""

    item_id: ItemId = field(name="id")
    reason: Reason


class Unknown(Struct, frozen=True, tag_field="t", tag="unknown"):
    """The ground received a chunk of an item whose manifest it does not have."""

    item_id: ItemId = field(name="id")


class Again(Struct, frozen=True, tag_field="t", tag="again"):
    """The ground has lost the bytes of an item that it had confirmed, and asks for them again."""

    item_id: ItemId = field(name="id")
    sha256: Sha256


class Hello(Struct, frozen=True, tag_field="t", tag="hello"):
    """A ground program has just subscribed; earlier messages may be lost."""


Downward: TypeAlias = Manifest | Chunk | Heartbeat | Coming | Gone
Upward: TypeAlias = Have | Done | Refused | Wait | Unknown | Again | Hello
_Message = TypeVar("_Message", Downward, Upward)


def item_id(satellite: str, kind: Kind, frame: str, sha256: bytes) -> bytes:
    """Return the id of an item, which is the same for the same content of one satellite."""
    identity = [satellite.encode(), kind.encode(), frame.encode(), sha256]
    return hashlib.sha256(b"\0".join(identity)).digest()[:ID_BYTES]


def _plain(value: object) -> int | float | str:
    """Return the number or text behind a subclass, such as numpy's float64."""
    for kind in (int, float, str):
        if isinstance(value, kind):
            return kind(value)
    raise TypeError(f"metadata may hold strings and numbers only, not {type(value).__name__}")


_ENCODER = msgspec.msgpack.Encoder(enc_hook=_plain)
_VERSION_ENTRY = b"\xa1v" + bytes((VERSION,))
_ENTRIES_DECODER = msgspec.msgpack.Decoder(dict[str, msgspec.Raw])  # values stay undecoded
_DOWNWARD_DECODER = msgspec.msgpack.Decoder(Downward)
_UPWARD_DECODER = msgspec.msgpack.Decoder(Upward)


def encode(message: Downward | Upward) -> bytes:
    """Return the payload of a message."""
    body = _ENCODER.encode(message)
    # The version becomes the map's first entry. The first byte of a map of up to 15 entries has their number.
    return b"".join((bytes((body[0] + 1,)), _VERSION_ENTRY, memoryview(body)[1:]))


def decode_downward(payload: bytes) -> Downward:
    """Decode a message of a satellite.

    Raises:
        MalformedError: the payload is not such a message. No other exception is raised.
    """
    message = _decode(payload, _DOWNWARD_DECODER)
    if isinstance(message, Manifest):
        _check_size(message)
    return message


def decode_upward(payload: bytes) -> Upward:
    """Decode a message of the ground.

    Raises:
        MalformedError: the payload is not such a message. No other exception is raised.
    """
    return _decode(payload, _UPWARD_DECODER)


def _decode(payload: bytes, decoder: msgspec.msgpack.Decoder[_Message]) -> _Message:
    try:
        entries = _ENTRIES_DECODER.decode(payload)
        _check_version(entries.pop("v", None))
        message: _Message = decoder.decode(payload)
        for key in entries.keys() - {"t", *message.__struct_encode_fields__}:
            _check_ignored(msgspec.msgpack.decode(entries[key]))
    except MalformedError:
        raise
    except Exception as error:  # msgspec also raises RecursionError on foreign bytes
        raise MalformedError(str(error)[:_PROBLEM_MAX_TEXT]) from error
    return message


def _check_version(raw: msgspec.Raw | None) -> None:
    version = None if raw is None else msgspec.msgpack.decode(raw)
    if type(version) is not int or version != VERSION:
        # A list or map may be nested so deeply that repr() fails.
        text = f"a {type(version).__name__}" if isinstance(version, list | dict) else repr(version)[:40]
        raise MalformedError(f"version {text} is not supported; expected {VERSION}")


def _check_ignored(value: object, depth: int = 0) -> None:
    """Check that the value of an unknown key is well formed, although it is ignored."""
    if depth > DEPTH_MAX:
        raise MalformedError(f"a value is nested more than {DEPTH_MAX} levels deep")
    if isinstance(value, list):
        for entry in value:
            _check_ignored(entry, depth + 1)
    elif isinstance(value, dict):
        for key, entry in value.items():
            if not isinstance(key, str | bytes):
                raise MalformedError("a map has a key that is not a string")
            _check_ignored(entry, depth + 1)


def _check_size(manifest: Manifest) -> None:
    if manifest.data is not UNSET and len(manifest.data) != manifest.size_bytes:
        raise MalformedError(
            f"size is {manifest.size_bytes} bytes, but the manifest contains {len(manifest.data)}"
        )
    if manifest.inline == (manifest.data is UNSET):
        raise MalformedError(
            f"items of up to {INLINE_LIMIT_BYTES} bytes must be inside their manifest, larger ones outside"
        )
    if manifest.pieces is not UNSET and sum(p.size_bytes for p in manifest.pieces) != manifest.size_bytes:
        raise MalformedError(f"size is {manifest.size_bytes} bytes, but the pieces have another sum")
    if manifest.chunks > CHUNKS_MAX:
        raise MalformedError(f"item has {manifest.chunks} chunks; at most {CHUNKS_MAX} are allowed")
