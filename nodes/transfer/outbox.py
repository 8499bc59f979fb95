"""Items of a satellite, stored on disk until the ground has them.

    outbox/pending/<sequence>-<id>-<frame>/manifest     encoded manifest; holds the data of a small item
    outbox/pending/<sequence>-<id>-<frame>/data         bytes of a large item, a copy of the captured file
    outbox/pending/<sequence>-<id>-<frame>/digests      digest of each chunk, to find damage before it is sent
    outbox/pending/<sequence>-<id>-<frame>/begun        empty; exists if the ground may have a part of it
    outbox/released/<id>-<frame>                        manifest of an item that the ground has confirmed
    outbox/refused/<id>-<frame>                         manifest of an item that could not be delivered.
                                                        Empty, with an id of zeros: a dropped frame
    outbox/kept/, outbox/again/                         bytes of released items: repeats/kept.py
    outbox/pictures/<picture>                           empty; an item was made of the picture: pieces/

<frame> is a digest of the frame's name. So a damaged manifest does not make the satellite take its frame
again, and come to another answer. Older versions left it out.

Renaming a manifest out of pending/ releases the item. Bytes without a manifest are left over from a crash and
are removed when the outbox is opened; whatever else lies there is ignored and reported once. If the outbox or
the disk is full, kept bytes are deleted, and then the least valuable item of the lowest priority is dropped,
of equals the oldest. No item is dropped for one of a lower priority.
"""

from __future__ import annotations

import bisect
import contextlib
import hashlib
import io
import math
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import BinaryIO

from msgspec import UNSET
from msgspec.structs import replace

from nodes.contract.events import Dropped, Expired, OutboxTrouble
from nodes.contract.files import NO_ROOM, is_transient, sync_folder
from nodes.contract.report import Report, report_nothing
from nodes.transfer.files import (
    DIGEST_BYTES,
    chunk_digest,
    disk_shortfall,
    frame_key,
    read_at,
    read_manifest,
    write_manifest,
)
from nodes.transfer.messages import (
    INLINE_LIMIT_BYTES,
    Kind,
    Manifest,
    Metadata,
    item_id,
)
from nodes.transfer.pieces.cutting import cut, pieces_of
from nodes.transfer.pieces.pictures import Pictures
from nodes.transfer.repeats.kept import REPEATS_MAX, Kept

PRIORITIES: dict[Kind, int] = {"answer": 0, "image": 1, "task": 0}
EXPRESS_PRIORITY = 0  # items of this priority use the express connection
UNLIMITED_BYTES = 1 << 62
VALUE = "value"  # key of an item's worth in its metadata
SendKey = Callable[[int, float, float | None], tuple[float, ...]]  # as in nodes/policies/send_order.py
MAKING = ".making"
TOLD_MAX = 20  # strays
NO_ITEM = "0" * 32
_PENDING = re.compile(r"(\d{12,18})-([0-9a-f]{32})(?:-([0-9a-f]{32}))?")
_SETTLED = re.compile(r"[0-9a-f]{32}(?:-([0-9a-f]{32}))?")


class OutboxError(OSError):
    """An item cannot be stored or read; the text has the file and the reason.

    Attributes:
        transient: whether the same may succeed later, such as on a disk that is read-only for a while.
    """

    transient = False


class TransientOutboxError(OutboxError):
    """An item cannot be stored or read now, and may be later."""

    transient = True


class _NoRoomError(TransientOutboxError):
    """The disk is full; dropping an item may help."""


@dataclass(frozen=True, slots=True)
class OutboxItem:
    """One item that waits for the ground; a newer item has a larger `sequence`.

    Attributes:
        asks_first: whether the ground may hold chunks of it, from another item of the same picture.
        own_bytes: size without the chunks that an item before it has, too.
    """

    manifest: Manifest
    sequence: int
    folder: Path
    asks_first: bool
    own_bytes: int

    @property
    def value(self) -> float:
        """Worth of the item beside that of others."""
        value = self.manifest.metadata.get(VALUE, 1.0)
        return float(value) if isinstance(value, int | float) else 1.0

    @property
    def begun(self) -> bool:
        """Whether a part of the item was sent, also by an earlier process."""
        return (self.folder / "begun").exists()

    def mark_begun(self) -> None:
        """Mark the item as begun; if the mark cannot be written, a restart costs a repeat."""
        with contextlib.suppress(OSError):
            (self.folder / "begun").touch()

    def read_chunk(self, index: int) -> bytes:
        """Return the bytes of one chunk.

        Raises:
            OutboxError: the bytes are missing or damaged.
        """
        offset, length = self.manifest.chunk_offset(index), self.manifest.chunk_length(index)
        path = self.folder / "data"
        try:
            data = read_at(path, offset, length)
            digest = read_at(self.folder / "digests", index * DIGEST_BYTES, DIGEST_BYTES)
        except OSError as error:
            raise _as_outbox_error(path, error) from error
        if len(data) != length:
            raise OutboxError(f"{path}: file ends before byte {offset + length}")
        if chunk_digest(data) != digest:
            raise OutboxError(f"{path}: damaged at byte {offset}: sha256 differs")
        return data


class Outbox:
    """The items of one satellite; safe to use from several threads.

    Args:
        folder: folder of the items, created if missing; used by this satellite only.
        satellite: the satellite's name in topics, a part of every item's id.
        chunk_bytes: chunk size of new items.
        limit_bytes: largest total size of the pending items.
        send_key: sort key of an item by its number, value and deadline, among items of one priority; by
            default the oldest is sent first.
        report: receives dropped, expired and outbox_trouble.
    """

    def __init__(
        self,
        folder: Path,
        satellite: str,
        chunk_bytes: int,
        *,
        limit_bytes: int = UNLIMITED_BYTES,
        send_key: SendKey = lambda number, value, deadline_s: (number,),
        report: Report = report_nothing,
    ) -> None:
        self._send_key = send_key
        self._values: dict[str, float] = {}  # set anew, by the frame
        self._folder = folder
        self._satellite = satellite
        self._chunk_bytes = chunk_bytes
        self._limit_bytes = limit_bytes
        self._report = report
        self._lock = threading.RLock()
        self._adding = threading.Lock()  # held while an image is copied, which is too long for _lock
        self._pending: list[OutboxItem] = []
        self._frames: set[str] = set()  # keys of frames that were ever added
        self._next_expiry_s: float | None = None  # None: to be looked for
        self._unsettled: list[tuple[OutboxItem, str]] = []
        for name in ("pending", "released", "refused"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self._strays = 0
        self._kept = Kept(folder)
        self._pictures = Pictures(folder)
        self._load()
        self._next_sequence = max((item.sequence for item in self._pending), default=0) + 1

    def add_image(
        self,
        frame: str,
        image: Path | bytes,
        metadata: Metadata,
        *,
        expires_s: float | None = None,
        picture: bytes | None = None,
        pieces_bytes: Sequence[int] = (),
    ) -> bool:
        """Add a copy of an image file, or the bytes of an image.

        Returns False if an image of this frame was added before.

        Args:
            frame: name of the frame.
            image: the file, or the bytes.
            metadata: for the ground program.
            expires_s: scenario second from which it is worthless.
            picture: equal for all items of one captured image; what the ground holds of it is not sent again.
            pieces_bytes: sizes of the pieces that other items of the picture may have as well.

        Raises:
            OutboxError: the image cannot be read or stored.
        """
        origin = image if isinstance(image, Path) else Path(frame)
        try:
            size_bytes = image.stat().st_size if isinstance(image, Path) else len(image)
        except OSError as error:
            raise _as_outbox_error(origin, error) from error
        if size_bytes == 0:
            raise OutboxError(f"{origin}: is empty")

        def make(making: Path) -> Manifest:
            try:
                with image.open("rb") if isinstance(image, Path) else io.BytesIO(image) as source:
                    sizes_bytes = cut(pieces_bytes, self._chunk_bytes)
                    manifest = self._stored(making, source, "image", frame, metadata, expires_s, sizes_bytes)
                if picture is None or manifest.inline:
                    return manifest
                pieces = pieces_of(making / "data", sizes_bytes) if sizes_bytes else UNSET
                return replace(manifest, picture=picture, pieces=pieces)
            except OSError as error:
                place = self._folder if error.errno in NO_ROOM else origin
                raise _as_outbox_error(place, error) from error

        return self._add("image", frame, size_bytes, make)

    def add_answer(
        self, frame: str, answer: bytes, metadata: Metadata, *, expires_s: float | None = None
    ) -> bool:
        """Add an answer; return False if this frame was answered before.

        Raises:
            OutboxError: the answer is too long or cannot be stored.
        """
        if not 0 < len(answer) <= INLINE_LIMIT_BYTES:
            raise OutboxError(
                f"answer to {frame!r} has {len(answer)} bytes; 1 to {INLINE_LIMIT_BYTES} are allowed"
            )
        digest = hashlib.sha256(answer).digest()

        def make(_: Path) -> Manifest:
            return self._manifest("answer", frame, len(answer), digest, metadata, expires_s, answer)

        return self._add("answer", frame, len(answer), make)

    def add_task(self, name: str, body: bytes, *, expires_s: float | None = None) -> bool:
        """Add a task for a satellite; return False if one of this name was added before.

        Raises:
            OutboxError: it cannot be stored.
        """

        def make(making: Path) -> Manifest:
            try:
                return self._stored(making, io.BytesIO(body), "task", name, {}, expires_s, ())
            except OSError as error:
                raise _as_outbox_error(self._folder, error) from error

        return self._add("task", name, len(body), make)

    def value_again(self, frame: str, value: float) -> None:
        """Set another value of a frame, in memory only, also of an item that waits already."""
        with self._lock:
            self._values[frame] = value
            self._pending.sort(key=self._turn)

    def order_again(self, send_key: SendKey) -> None:
        """Set another order of sending, in memory only, also for items that wait already."""
        with self._lock:
            self._send_key = send_key
            self._pending.sort(key=self._turn)

    def holds(self, frame: str) -> bool:
        """Return whether an answer or image of this frame was ever added, also before a restart."""
        with self._lock:
            return frame_key(frame) in self._frames

    def give_up(self, frame: str) -> None:
        """Note that nothing is sent for a frame, so that it is not taken again after a restart."""
        key = frame_key(frame)
        self._frames.add(key)
        with contextlib.suppress(OSError):  # then it is decided again, which costs nothing but time
            (self._folder / "refused" / f"{NO_ITEM}-{key}").touch()

    def pending(self, limit: int, *, express: bool | None = None) -> list[OutboxItem]:
        """Return up to `limit` items that the ground does not have, in the order of sending.

        Args:
            limit: largest number of items.
            express: True for items of the express connection only, False for all others, None for both.
        """
        with self._lock:
            if express is None:
                return self._pending[:limit]
            split = bisect.bisect_right(self._pending, EXPRESS_PRIORITY, key=lambda i: i.manifest.priority)
            return self._pending[: min(split, limit)] if express else self._pending[split : split + limit]

    @property
    def count(self) -> int:
        """Number of items that the ground does not have."""
        return len(self._pending)

    def next_expiry_s(self) -> float:
        """Return the scenario time at which the first pending item expires; inf if none does."""
        with self._lock:
            if self._next_expiry_s is None:
                deadlines_s = [item.manifest.deadline_s for item in self._pending]
                self._next_expiry_s = min((s for s in deadlines_s if s is not None), default=math.inf)
            return self._next_expiry_s

    def depth(self) -> tuple[int, int]:
        """Return (number of pending items, their size in bytes)."""
        with self._lock:
            return len(self._pending), sum(item.manifest.size_bytes for item in self._pending)

    def own_bytes(self) -> int:
        """Return the bytes of the pending items, those that several of one picture share counted once."""
        with self._lock:
            return sum(item.own_bytes for item in self._pending)

    def most_urgent(self) -> tuple[float, float | None]:
        """Return (highest value of a pending item, or 0; nearest deadline, or None)."""
        with self._lock:
            values = [self._value(item) for item in self._pending]
            deadlines_s = [s for item in self._pending if (s := item.manifest.deadline_s) is not None]
        return max(values, default=0.0), min(deadlines_s, default=None)

    def release(self, item: OutboxItem) -> bool:
        """Delete the bytes of an item that the ground has and keep its id; False if it was not pending."""
        return self._settle(item, "released")

    def refuse(self, item: OutboxItem) -> bool:
        """Delete the bytes of an undeliverable item and keep its id; False if it was not pending."""
        return self._settle(item, "refused")

    def send_again(self, wanted: bytes, sha256: bytes) -> str | None:
        """Make a released item pending again; return why that cannot be, or None if it is pending.

        Args:
            wanted: id of the item.
            sha256: digest of its bytes.

        Raises:
            TransientOutboxError: it cannot be done now.
        """
        with self._lock:
            if any(item.manifest.item_id == wanted for item in self._pending):
                return None
            self.settle_again()
            if any(item.manifest.item_id == wanted for item, _ in self._unsettled):
                raise TransientOutboxError(f"{self._folder}: the item's release is not on disk yet")
            try:
                return self._reopen(wanted, sha256)
            except OSError as error:
                raise TransientOutboxError(f"{self._folder}: {error.strerror or error}") from error

    def forget_kept(self) -> None:
        """Delete the bytes of released items: nobody will ask for them any more."""
        with self._lock:
            self._kept.clear()

    def expire(self, time_s: float) -> list[OutboxItem]:
        """Drop, report and return each item whose deadline has passed at a scenario time."""
        with self._lock:
            expired = [item for item in self._pending if item.manifest.has_expired(time_s)]
            for item in expired:
                self._settle(item, "refused")
                manifest = item.manifest
                self._report(Expired(frame=manifest.frame, what=manifest.kind, expires_s=manifest.deadline_s))
        return expired

    def _add(self, kind: Kind, frame: str, size_bytes: int, make: Callable[[Path], Manifest]) -> bool:
        """Make space, create the item and put it in place; repeat if the disk was full."""
        with self._adding:
            if self.holds(frame):
                return False
            self._make_room(size_bytes, PRIORITIES[kind])
            while True:
                try:
                    if kind == "image":
                        self._check_reserve(size_bytes)
                    self._commit(make)
                    return True
                except _NoRoomError as error:
                    with self._lock:
                        if self._kept.free(size_bytes):
                            continue
                    self._drop_for(PRIORITIES[kind], str(error), TransientOutboxError)
                finally:
                    shutil.rmtree(self._making, ignore_errors=True)

    def _check_reserve(self, size_bytes: int) -> None:
        """Check that the disk keeps its reserve, for results and answers, beside a new image.

        Raises:
            _NoRoomError: it does not, and dropping items helps.
            TransientOutboxError: something else fills the disk.
        """
        try:
            lacking = disk_shortfall(self._folder, size_bytes)
        except OSError as error:
            raise _as_outbox_error(self._folder, error) from error
        if lacking is not None:
            helps = lacking.size_bytes <= self.depth()[1] + self._kept.size_bytes
            raise (_NoRoomError if helps else TransientOutboxError)(lacking.reason)

    def _turn(self, item: OutboxItem) -> tuple[float, ...]:
        """Sort key of sending: the next item first."""
        manifest = item.manifest
        return (manifest.priority, *self._send_key(item.sequence, self._value(item), manifest.deadline_s))

    def _value(self, item: OutboxItem) -> float:
        return self._values.get(item.manifest.frame, item.value)

    def _worth(self, item: OutboxItem) -> tuple[int, float, int]:
        """Sort key of dropping: of the lowest priority the least valuable item, of equals the oldest."""
        return -item.manifest.priority, self._value(item), item.sequence

    def _make_room(self, size_bytes: int, priority: int) -> None:
        if size_bytes > self._limit_bytes:
            raise OutboxError(
                f"item of {size_bytes} bytes exceeds the size of the outbox, {self._limit_bytes} bytes"
            )
        while self.depth()[1] + size_bytes > self._limit_bytes:
            self._drop_for(priority, f"the outbox is full: {self._limit_bytes} bytes")
        with self._lock:
            self._kept.free(self._kept.size_bytes + self.depth()[1] + size_bytes - self._limit_bytes)

    def _drop_for(self, priority: int, reason: str, error: type[OutboxError] = OutboxError) -> None:
        """Drop the least valuable item.

        Raises:
            OutboxError: of type `error`; the outbox is empty, or its least valuable item is more urgent.
        """
        with self._lock:
            item = min(self._pending, key=self._worth, default=None)
        if item is None or item.manifest.priority < priority:
            raise error(f"{reason}; no pending item has the same or a lower priority")
        self._settle(item, "refused")
        self._report(
            Dropped(
                frame=item.manifest.frame,
                what=item.manifest.kind,
                size_bytes=item.manifest.size_bytes,
                reason=reason,
            )
        )

    def settle_again(self) -> None:
        """Try again to note on disk what could not be noted before; call it periodically."""
        with self._lock:
            unsettled, self._unsettled = self._unsettled, []
            for item, outcome in unsettled:
                self._note_settled(item, outcome)

    def _settle(self, item: OutboxItem, outcome: str) -> bool:
        with self._lock:
            if item not in self._pending:
                return False
            self._pending.remove(item)
            self._next_expiry_s = None
            error = self._note_settled(item, outcome)
            if error is not None:
                # Settled in memory only: a restart offers the item again, and the ground replies `done`.
                self._report(OutboxTrouble(reason=f"{item.folder}: {error.strerror}"))
            return True

    def _note_settled(self, item: OutboxItem, outcome: str) -> OSError | None:
        manifest, record = item.folder / "manifest", self._folder / outcome / _settled_name(item)
        try:
            if manifest.exists() or not record.exists():
                manifest.replace(record)
            sync_folder(record.parent)
        except OSError as error:
            self._unsettled.append((item, outcome))
            return error
        # Only now: a manifest that stays behind keeps the frame from being taken again.
        if outcome == "released":
            self._keep(item.folder)
        else:
            shutil.rmtree(item.folder, ignore_errors=True)
        return None

    def _keep(self, folder: Path) -> None:
        """Keep the bytes of a released item for a while, as far as the pending items leave room."""
        self._kept.keep(folder)
        self._kept.free(self._kept.size_bytes + self.depth()[1] - self._limit_bytes)

    def _reopen(self, wanted: bytes, sha256: bytes) -> str | None:
        """Do the work of `send_again` for an item that is not pending. Raises OSError."""
        folder = self._kept.interrupted(wanted)
        if folder is None:
            record = next((self._folder / "released").glob(f"{wanted.hex()}*"), None)
            manifest = None if record is None else self._read(record)
            if record is None or manifest is None or (manifest.item_id, manifest.sha256) != (wanted, sha256):
                return "the satellite has no record of its delivery"
            folder = self._kept.find(wanted)
            if folder is None and not manifest.inline:
                return "the satellite has deleted its bytes to make room"
            if not self._kept.count_repeat(wanted):
                return f"the satellite has sent it again {REPEATS_MAX} times"
            if folder is None:
                name = f"{self._next_sequence:012d}-{wanted.hex()}-{frame_key(manifest.frame)}"
                folder = self._kept.folder / name
                folder.mkdir()
                self._next_sequence += 1
            # In this order: at every moment, a restart finds the manifest, and its frame is not taken again.
            self._kept.take(folder, record)
        place = self._folder / "pending" / folder.name
        folder.rename(place)
        self._load_reopened(place)
        return None

    @property
    def _making(self) -> Path:
        return self._folder / "pending" / MAKING

    def _stored(
        self,
        making: Path,
        source: BinaryIO,
        kind: Kind,
        frame: str,
        metadata: Metadata,
        expires_s: float | None,
        sizes_bytes: Sequence[int],
    ) -> Manifest:
        size_bytes, sha256 = _copy_hashed(source, making, sizes_bytes or repeat(self._chunk_bytes))
        inline = (making / "data").read_bytes() if size_bytes <= INLINE_LIMIT_BYTES else None
        if inline is not None:
            (making / "data").unlink()
            (making / "digests").unlink()
        return self._manifest(kind, frame, size_bytes, sha256, metadata, expires_s, inline)

    def _manifest(
        self,
        kind: Kind,
        frame: str,
        size_bytes: int,
        sha256: bytes,
        metadata: Metadata,
        expires_s: float | None,
        inline: bytes | None,
    ) -> Manifest:
        return Manifest(
            item_id=item_id(self._satellite, kind, frame, sha256),
            kind=kind,
            frame=frame,
            size_bytes=size_bytes,
            sha256=sha256,
            chunk_bytes=self._chunk_bytes,
            priority=PRIORITIES[kind],
            metadata=dict(metadata),
            query=0,
            expires_s=UNSET if expires_s is None else expires_s,
            data=UNSET if inline is None else inline,
        )

    def _commit(self, make: Callable[[Path], Manifest]) -> None:
        making = self._making
        try:
            shutil.rmtree(making, ignore_errors=True)
            making.mkdir(exist_ok=True)  # it stays where no descriptor is left to delete it
            manifest = make(making)
            name = f"{self._next_sequence:012d}-{manifest.item_id.hex()}-{frame_key(manifest.frame)}"
            folder = self._folder / "pending" / name
            write_manifest(making / "manifest", manifest, durable=True)
            making.rename(folder)
        except OutboxError:
            raise
        except OSError as error:
            raise _as_outbox_error(making, error) from error
        try:
            sync_folder(folder.parent)
        except OSError as error:  # it is stored, and only a power failure could undo that
            self._report(OutboxTrouble(reason=f"{folder}: {error.strerror}"))
        with self._lock:
            item = self._item(manifest, self._next_sequence, folder)
            self._next_sequence += 1
            bisect.insort(self._pending, item, key=self._turn)
            self._frames.add(frame_key(manifest.frame))
            self._next_expiry_s = None

    def _item(self, manifest: Manifest, sequence: int, folder: Path) -> OutboxItem:
        """Return an item, and note what later ones have in common with it."""
        asks_first = self._pictures.met_before(manifest)
        return OutboxItem(manifest, sequence, folder, asks_first, self._pictures.own_bytes(manifest))

    def _load(self) -> None:
        """Read what an earlier process has left; report what cannot be read or does not belong here."""
        for outcome in ("released", "refused"):
            for path in sorted((self._folder / outcome).iterdir()):
                self._load_settled(path)
        for folder in self._kept.load():
            folder.rename(self._folder / "pending" / folder.name)
        for folder in sorted((self._folder / "pending").iterdir()):
            if folder.name == MAKING:
                shutil.rmtree(folder, ignore_errors=True)
            else:
                self._load_pending(folder)
        self._pending.sort(key=self._turn)

    def _load_settled(self, path: Path) -> None:
        match = _SETTLED.fullmatch(path.name)
        if match is None or not path.is_file():
            self._stray(path)
        elif match[1] is not None:
            self._frames.add(match[1])
        elif (manifest := self._read(path)) is not None:
            self._frames.add(frame_key(manifest.frame))
        else:
            self._report(OutboxTrouble(reason=f"{path}: damaged; its frame may be taken again"))

    def _load_pending(self, folder: Path) -> None:
        match = _PENDING.fullmatch(folder.name)
        if match is None or not folder.is_dir():
            self._stray(folder)
            return
        if not (folder / "manifest").exists():  # left by a crash after the item was settled
            if (self._folder / "released" / f"{match[2]}-{match[3]}").exists():
                self._keep(folder)
            else:
                shutil.rmtree(folder, ignore_errors=True)
            return
        manifest = self._read(folder / "manifest")
        if manifest is None:
            self._load_damaged(folder, match[3])
        elif manifest.item_id.hex() != match[2] or frame_key(manifest.frame) in self._frames:
            self._stray(folder)
        else:
            self._frames.add(frame_key(manifest.frame))
            self._pending.append(self._item(replace(manifest, query=0), int(match[1]), folder))

    def _load_reopened(self, folder: Path) -> None:
        manifest = self._read(folder / "manifest")
        if manifest is not None:
            item = self._item(replace(manifest, query=0), int(folder.name.partition("-")[0]), folder)
            bisect.insort(self._pending, item, key=self._turn)
            self._next_expiry_s = None

    def _load_damaged(self, folder: Path, key: str | None) -> None:
        """Give up an item without a readable manifest; a frame that was never begun is taken again."""
        begun = (folder / "begun").exists()
        if key is not None and begun:
            self._frames.add(key)
        ending = "its frame is given up" if begun else "its frame is taken again"
        self._report(OutboxTrouble(reason=f"{folder / 'manifest'}: damaged; {ending}"))

    def _read(self, path: Path) -> Manifest | None:
        try:
            return read_manifest(path)
        except OSError as error:
            self._report(OutboxTrouble(reason=f"{path}: {error.strerror or error}"))
            return None

    def _stray(self, path: Path) -> None:
        self._strays += 1
        if self._strays <= TOLD_MAX:
            self._report(OutboxTrouble(reason=f"{path}: is no item and is ignored"))


def _settled_name(item: OutboxItem) -> str:
    return f"{item.manifest.item_id.hex()}-{frame_key(item.manifest.frame)}"


def _as_outbox_error(path: Path, error: OSError) -> OutboxError:
    kind = OutboxError
    if is_transient(error):
        kind = _NoRoomError if error.errno in NO_ROOM else TransientOutboxError
    return kind(f"{path}: {error.strerror or error}")


def _copy_hashed(source: BinaryIO, making: Path, sizes_bytes: Iterable[int]) -> tuple[int, bytes]:
    """Copy a file with a digest of each chunk, fsync both; return (size in bytes, sha256)."""
    digest = hashlib.sha256()
    size_bytes = 0
    with (making / "data").open("wb") as data, (making / "digests").open("wb") as digests:
        for chunk_bytes in sizes_bytes:
            if not (chunk := source.read(chunk_bytes)):
                break
            digest.update(chunk)
            digests.write(chunk_digest(chunk))
            data.write(chunk)
            size_bytes += len(chunk)
        for file in (data, digests):
            file.flush()
            os.fsync(file.fileno())
    return size_bytes, digest.digest()
