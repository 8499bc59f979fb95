"""Items that ground stations have received, on disk.

    inbox/<satellite>/<id>/lock         locked while a station works on the item; holds the id of the last one
    inbox/<satellite>/<id>/manifest     encoded manifest, as it first arrived
    inbox/<satellite>/<id>/part         bytes received so far
    inbox/<satellite>/<id>/digests      eight bytes for each chunk in `part`; zeros: the chunk is missing
    inbox/<satellite>/<id>/data         all bytes, verified: `part` renamed; exists if the item is complete.
                                        Truncated to nothing if space was needed after the answer
    inbox/<satellite>/<id>/unanswered   empty; locked by the station that is answering the item. Without
                                        `part` and `data`: the item was lost, and is asked for again
    inbox/<satellite>/<id>/answered     `unanswered` renamed: a model, or the satellite, has answered
    inbox/<satellite>/<id>/refused      the reason; exists if the item must not be sent again
    inbox/<satellite>/<id>/cut          manifest of the first pieces, if they are answered without the rest
    inbox/<satellite>/.frames/<key>     link that names the item which alone may be answered for a frame
    inbox/<satellite>/.pictures/        items by the picture that they were made of: pieces/held.py

Whatever else lies there is ignored and reported once.

Stations that share the folder share the state: an item that was begun at one station ends at another. A
shared file system is enough for that and avoids a service that could fail on its own. One flock per item
serialises the stations; the kernel releases it when a program is killed. A station that finds the id of
another in the lock file reads the item's state again.

The digests are written after the bytes and never fsynced. After a power failure some may be missing, so that
a chunk is sent twice, or some may be wrong, which the sha256 of the item reveals.

The space is shared among satellites by senders/space.py.
"""

from __future__ import annotations

import contextlib
import os
from collections import OrderedDict
from pathlib import Path

from nodes.contract.events import Expired, InboxTrouble
from nodes.contract.report import Report, report_nothing
from nodes.transfer.chunk_map import ChunkMap
from nodes.transfer.files import read_manifest, write_manifest
from nodes.transfer.inbox_item import CUT, FRAMES, STATION_BYTES, Claim, InboxItem
from nodes.transfer.messages import MalformedError, Manifest, item_id
from nodes.transfer.pieces.held import PICTURES, note
from nodes.transfer.senders.space import (
    SATELLITE_NAME,
    NoRoomError,
    Space,
    is_counted,
    item_folders,
    strays,
)

__all__ = ["Claim", "Inbox", "InboxItem", "NoRoomError", "complete_items"]

UNLIMITED_BYTES = 1 << 62
TOLD_MAX = 100  # strays
ITEMS_OPEN = 256  # items in memory, each with a file descriptor; others are read again when needed


class Inbox:
    """The items that stations have received.

    One thread calls `open`, `find`, `finished`, `forget` and `relieve`; another may call `unanswered`,
    `expire` and `look_around`. `repeats/asking.py` asks for what is in `missed`.

    Args:
        folder: folder of the items, created if missing; several stations may share it.
        limit_bytes: largest size of the inbox; an announced item counts with its full size.
        report: receives dropped, expired, refused and inbox_trouble.
    """

    def __init__(
        self, folder: Path, *, limit_bytes: int = UNLIMITED_BYTES, report: Report = report_nothing
    ) -> None:
        self._folder = folder
        self._report = report
        self._space = Space(folder, limit_bytes, report)
        self._station = os.urandom(STATION_BYTES)
        self._items: OrderedDict[tuple[str, bytes], InboxItem] = OrderedDict()
        self._settled: set[Path] = set()
        self._answered: set[Path] = set()
        self._owed: dict[Path, InboxItem] = {}  # complete items whose answer has not been seen
        self.missed: dict[Path, tuple[InboxItem, str]] = {}  # to be asked for again, and why
        self._told: set[Path] = set()
        folder.mkdir(parents=True, exist_ok=True)

    def open(self, satellite: str, manifest: Manifest) -> tuple[InboxItem, bool]:
        """Return (item of a manifest, whether it is new here).

        Raises:
            MalformedError: the manifest contradicts an earlier one.
            NoRoomError: the inbox is full.
            OSError: the item cannot be written.
        """
        item, new = self.find(satellite, manifest.item_id), False
        if item is None:
            self._space.admit(satellite, manifest)
            item, new = self._create(satellite, manifest)
            self._remember(item)
        elif self.was_dropped(item):
            self._space.admit(satellite, manifest)
            os.utime(item.folder / "manifest")
        known = item.manifest
        if not item.is_cut and (known.sha256, known.size_bytes, known.chunk_bytes, known.pieces) != (
            manifest.sha256,
            manifest.size_bytes,
            manifest.chunk_bytes,
            manifest.pieces,
        ):
            raise MalformedError("manifest contradicts an earlier one with the same id")
        return item, new

    def find(self, satellite: str, item_id: bytes) -> InboxItem | None:
        """Return the item with this id from memory or disk, or None.

        Raises:
            MalformedError: the satellite's name has characters that are not allowed.
            OSError: the item cannot be read now.
        """
        if not SATELLITE_NAME.fullmatch(satellite):
            raise MalformedError("satellite name contains characters that are not allowed")
        item = self._items.get((satellite, item_id))
        if item is None:
            item = self._load(self._path(satellite, item_id))
            if item is not None:
                self._remember(item)
        return item

    def close(self) -> None:
        """Close the file descriptors."""
        for item in self._items.values():
            item.close()
        self._items.clear()

    def fits(self, size_bytes: int) -> bool:
        """Return whether an item of this size fits into the empty inbox."""
        return self._space.fits(size_bytes)

    def was_dropped(self, item: InboxItem) -> bool:
        """Return whether the item's bytes were dropped for others, so that it must be announced again."""
        return not item.complete and item.chunks.present == 0 and not is_counted(item.folder)

    def finished(self, item: InboxItem) -> None:
        """Note that an item is complete or refused; a complete one is watched until it is answered."""
        self._space.finished(item.satellite)
        if item.complete:
            self.missed.pop(item.folder, None)
            self._owed[item.folder] = item

    def unanswered(self) -> list[InboxItem]:
        """Return the complete items whose answer has not been reported, in order of completion.

        Items whose bytes were removed or cut after they were complete are `missed` from then on: the
        satellite may have deleted its own copy, and is asked for them.

        Raises:
            OSError: the inbox cannot be read now.
        """
        by_completion: list[tuple[int, InboxItem]] = []
        for folder in item_folders(self._folder):
            if folder in self._settled or self._is_settled(folder):
                continue
            if not (folder / "data").exists():
                self._find_missed(folder)
                continue
            item = self._load(folder)
            if item is None:
                self._tell(folder, "its manifest is missing or damaged, so it cannot be answered")
            elif item.complete:
                owed = self._owed.setdefault(folder, item)
                with contextlib.suppress(FileNotFoundError):
                    by_completion.append((item.data_path.stat().st_mtime_ns, owed))
        for item in list(self._owed.values()):
            if item.lost() is not None:
                try:
                    self.miss(item)
                except OSError as error:  # the next look tries again
                    self._tell(item.folder, f"has lost its bytes, and cannot be written: {error.strerror}")
        by_completion.sort(key=lambda pair: pair[0])
        return [item for _, item in by_completion if item.folder in self._owed]

    def miss(self, item: InboxItem) -> bool:
        """Note that the bytes of a complete item are not as they came, and discard what is left of them.

        Returns False if they are. May be called from any thread.

        Raises:
            OSError: they cannot be read or discarded now.
        """
        if self._was_answered(item.folder):
            self.missed.pop(item.folder, None)
            return True
        found = self.look_up(item.folder)
        if found is None:  # the folder or its manifest was removed
            item.folder.mkdir(parents=True, exist_ok=True)
            empty = ChunkMap(item.manifest.chunks)
            found = InboxItem(item.satellite, item.manifest, item.folder, empty, os.urandom(STATION_BYTES))
            write_manifest(item.folder / "manifest", item.manifest, durable=False)
        with contextlib.closing(found), found.locked():
            if found.refused is not None or found.answered or (found.folder / "part").exists():
                return True
            if found.is_missed and item.folder in self.missed:
                return True
            problem = found.damage()
            if problem is None:
                return False
            (found.folder / "unanswered").touch()
            found.reopen()
        self._owed.pop(item.folder, None)
        self._note_missed(found, problem)
        return True

    def _find_missed(self, folder: Path) -> None:
        """Find an item that was complete, and lost its bytes while no station looked."""
        if folder in self.missed or folder in self._owed:
            return
        item = self.look_up(folder)
        if item is None or not item.is_missed:
            return
        with contextlib.closing(item), item.locked():
            missed = item.is_missed
        if missed:
            self._note_missed(item, f"{item.data_path} was removed before it was answered")

    def _note_missed(self, item: InboxItem, problem: str) -> None:
        self.missed[item.folder] = item, problem
        self._report(InboxTrouble(frame=item.manifest.frame, reason=f"{problem}; asked for again"))

    def look_around(self) -> None:
        """Report, once each, files and folders that do not belong into an inbox.

        Raises:
            OSError: the inbox cannot be read now.
        """
        for path in strays(self._folder, {FRAMES, PICTURES}):
            self._tell(path, "is no item and is ignored")

    def expire(self, time_s: float) -> None:
        """Refuse and report each unfinished item whose deadline has passed at a scenario time.

        Raises:
            OSError: the inbox cannot be read now.
        """
        for folder in item_folders(self._folder):
            if folder in self._settled or (folder / "data").exists() or (folder / "refused").exists():
                continue
            item = self.look_up(folder)
            if item is None or not item.manifest.has_expired(time_s):
                continue
            with contextlib.suppress(OSError), contextlib.closing(item), item.locked():
                if not item.complete and item.refused is None:
                    item.refuse("expired")
                    manifest = item.manifest
                    event = Expired(
                        frame=manifest.frame,
                        what=manifest.kind,
                        expires_s=manifest.deadline_s,
                        satellite=item.satellite,
                    )
                    self._report(event)

    def unfinished(self) -> list[Path]:
        """Return the folders of items of which a part has come.

        Raises:
            OSError: the inbox cannot be read now.
        """
        return [folder for folder in item_folders(self._folder) if (folder / "part").exists()]

    def look_up(self, folder: Path) -> InboxItem | None:
        """Return the item in a folder, or None; for another thread than the one that calls `find`."""
        # A separate id in the lock file, so that the threads notice each other's changes.
        return self._load(folder, os.urandom(STATION_BYTES))

    def forget(self, item: InboxItem) -> None:
        """Forget the state in memory, which may differ from the disk; the next access reads it again."""
        if self._items.pop((item.satellite, item.manifest.item_id), None) is not None:
            item.close()

    def relieve(self, priority: int, reason: str, keep: InboxItem | None = None) -> bool:
        """Drop and report the least valuable item; see `Space.relieve`."""
        return self._space.relieve(priority, reason, keep)

    def _is_settled(self, folder: Path) -> bool:
        """Return whether an item needs no answer any more, and remember it."""
        answered = (folder / "answered").exists()
        if answered or (folder / "refused").exists():
            self._settled.add(folder)
            self._owed.pop(folder, None)
            if answered:
                self._answered.add(folder)
            return True
        return False

    def _tell(self, path: Path, problem: str) -> None:
        if path in self._told or len(self._told) >= TOLD_MAX:
            return
        self._told.add(path)
        self._report(InboxTrouble(reason=f"{path} {problem}"))

    def _create(self, satellite: str, manifest: Manifest) -> tuple[InboxItem, bool]:
        folder = self._path(satellite, manifest.item_id)
        folder.mkdir(parents=True, exist_ok=True)
        item = InboxItem(satellite, manifest, folder, ChunkMap(manifest.chunks), self._station)
        with item.locked():
            existing = read_manifest(folder / "manifest")
            if existing is not None:  # another station was quicker
                item.manifest = existing
                return item, False
            # Not synced before the item is complete: until then the satellite has it, too, and a flood of
            # manifests must not cost more than its bytes.
            write_manifest(folder / "manifest", manifest, durable=False)
            note(item)
            if self._was_answered(folder):  # and removed afterwards: it must not be answered again
                (folder / "answered").touch()
                item.data_path.touch()
                item.complete = True
        return item, not item.complete

    def _was_answered(self, folder: Path) -> bool:
        owed = self._owed.get(folder)
        return folder in self._answered or (owed is not None and owed.was_answered)

    def _remember(self, item: InboxItem) -> None:
        self._items[item.satellite, item.manifest.item_id] = item
        if len(self._items) > ITEMS_OPEN:
            self._items.popitem(last=False)[1].close()

    def _load(self, folder: Path, station: bytes | None = None) -> InboxItem | None:
        satellite, manifest = folder.parent.name, read_manifest(folder / "manifest")
        if manifest is None or folder.name != manifest.item_id.hex():
            return None
        if manifest.item_id != item_id(satellite, manifest.kind, manifest.frame, manifest.sha256):
            return None
        item = InboxItem(satellite, manifest, folder, ChunkMap(manifest.chunks), station or self._station)
        item.read_state()
        return item

    def _path(self, satellite: str, item_id: bytes) -> Path:
        return self._folder / satellite / item_id.hex()


def complete_items(folder: Path) -> list[tuple[Manifest, Path]]:
    """Return (manifest, file of its bytes) of each complete item, answered or not; only read them.

    Raises:
        OSError: an item cannot be read.
    """
    complete = []
    for place in sorted(item_folders(folder)):
        data, manifest = place / "data", read_manifest(place / CUT) or read_manifest(place / "manifest")
        if manifest is not None and data.is_file() and data.stat().st_size == manifest.size_bytes:
            complete.append((manifest, data))
    return complete
