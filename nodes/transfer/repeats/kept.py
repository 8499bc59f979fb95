"""Bytes of released items, which the satellite keeps while there is room: the ground may lose its copy.

    outbox/kept/<sequence>-<id>-<frame>/    folder of a released item, without its manifest: see released/
    outbox/again/<id>                       one byte for each time that the item was sent again

An item with data inside its manifest needs no folder. Renaming a manifest from released/ into the folder, and
then the folder into pending/, makes the item pending again; a restart completes what was interrupted.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections import OrderedDict
from pathlib import Path

from nodes.transfer.files import disk_shortfall

KEPT_BYTES = 64 << 20
KEPT_SHARE = 0.05  # of a small disk
REPEATS_MAX = 3  # of one item: a hostile station must not make a satellite send for ever


class Kept:
    """The kept bytes of one outbox. Not thread-safe.

    Pending items have precedence: the outbox calls `free` before it drops one of them.

    Args:
        outbox: folder of the outbox.
    """

    def __init__(self, outbox: Path) -> None:
        self.folder = outbox / "kept"
        self._counts = outbox / "again"
        self._sizes_bytes: OrderedDict[Path, int] = OrderedDict()  # the oldest first
        for folder in (self.folder, self._counts):
            folder.mkdir(parents=True, exist_ok=True)

    @property
    def size_bytes(self) -> int:
        """Size of all kept bytes."""
        return sum(self._sizes_bytes.values())

    def load(self) -> list[Path]:
        """Read what an earlier process has left; return the folders of items that were to be sent again."""
        found, interrupted = [], []
        for folder in self.folder.iterdir():
            with contextlib.suppress(OSError):
                if (folder / "manifest").exists():
                    interrupted.append(folder)
                else:
                    found.append((folder.stat().st_mtime_ns, folder, (folder / "data").stat().st_size))
        self._sizes_bytes = OrderedDict((folder, size_bytes) for _, folder, size_bytes in sorted(found))
        return interrupted

    def keep(self, released: Path) -> None:
        """Take the folder of an item that was released, or delete it."""
        try:
            size_bytes = (released / "data").stat().st_size
            disk = os.statvfs(self.folder)
            limit_bytes = min(KEPT_BYTES, int(disk.f_blocks * disk.f_frsize * KEPT_SHARE))
            if size_bytes <= limit_bytes and disk_shortfall(self.folder, limit_bytes) is None:
                self.free(self.size_bytes + size_bytes - limit_bytes)
                place = self.folder / released.name
                released.rename(place)
                self._sizes_bytes[place] = size_bytes
                return
        except OSError:  # it has no data, or the disk refuses
            pass
        shutil.rmtree(released, ignore_errors=True)

    def free(self, size_bytes: int) -> bool:
        """Delete the oldest until this many bytes are free; return whether anything was deleted."""
        freed_bytes = 0
        while freed_bytes < size_bytes and self._sizes_bytes:
            folder, freed = self._sizes_bytes.popitem(last=False)
            shutil.rmtree(folder, ignore_errors=True)
            freed_bytes += freed
        return freed_bytes > 0

    def find(self, item_id: bytes) -> Path | None:
        """Return the folder of an item's bytes, or None."""
        words = f"-{item_id.hex()}-"
        return next((folder for folder in self._sizes_bytes if words in folder.name), None)

    def interrupted(self, item_id: bytes) -> Path | None:
        """Return the folder of an item whose way back to the pending ones was interrupted, or None."""
        found = next(self.folder.glob(f"*-{item_id.hex()}-*/manifest"), None)
        return None if found is None else found.parent

    def take(self, folder: Path, record: Path) -> None:
        """Give up a folder, and move its manifest back into it.

        Raises:
            OSError: it cannot be moved now.
        """
        (folder / "begun").touch()
        record.replace(folder / "manifest")
        self._sizes_bytes.pop(folder, None)

    def count_repeat(self, item_id: bytes) -> bool:
        """Count, across restarts, that an item is sent again; return False if that was too often.

        Raises:
            OSError: it cannot be counted now.
        """
        descriptor = os.open(
            self._counts / item_id.hex(), os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644
        )
        try:
            if os.fstat(descriptor).st_size >= REPEATS_MAX:
                return False
            os.write(descriptor, b".")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return True

    def clear(self) -> None:
        """Delete all kept bytes: nobody asks for them any more."""
        self.free(self.size_bytes + 1)
