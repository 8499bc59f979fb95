"""Images of captured frames that a satellite keeps, for questions that come up later.

    kept/<number>-<frame>     the image as captured; <frame> is a digest of the frame's name

A new image displaces the oldest ones when there is no room. Those that a question waits for stay.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import threading
from collections import Counter
from pathlib import Path

from nodes.contract.files import replacing
from nodes.transfer.files import disk_shortfall, frame_key

_NAME = re.compile(r"(\d{8,12})-([0-9a-f]{32})")


class KeptFrames:
    """Keeps images of up to `limit_bytes` in all; safe to use from several threads.

    Args:
        folder: folder of the images, created if missing; of this satellite alone.
        limit_bytes: their largest total size.
    """

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self._folder, self._limit_bytes = folder, limit_bytes
        self._lock = threading.Lock()
        self._wanted: Counter[str] = Counter()
        folder.mkdir(parents=True, exist_ok=True)
        found = [(match, path) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))]
        found.sort(key=lambda one: int(one[0][1]))
        self._kept: dict[str, tuple[Path, int]] = {m[2]: (path, path.stat().st_size) for m, path in found}
        self._next = int(found[-1][0][1]) + 1 if found else 1

    def keep(self, frame: str, image: Path) -> bool:
        """Copy the image of a frame; return whether there was room for it.

        Raises:
            OSError: it cannot be copied.
        """
        key, size_bytes = frame_key(frame), image.stat().st_size
        with self._lock:
            if key in self._kept:
                return True
            if not self._make_room(size_bytes):
                return False
            path = self._folder / f"{self._next:08d}-{key}"
            with replacing(path) as making:
                shutil.copyfile(image, making)
            self._next += 1
            self._kept[key] = path, size_bytes
            return True

    def image(self, frame: str) -> Path | None:
        """Return the image of a frame, which stays until `release`; None if it is not kept."""
        key = frame_key(frame)
        with self._lock:
            path, _ = self._kept.get(key, (None, 0))
            if path is None or not path.is_file():
                return None
            self._wanted[key] += 1
            return path

    def release(self, frame: str) -> None:
        """Let an image go that `image` returned."""
        with self._lock:
            self._wanted[frame_key(frame)] -= 1

    def _make_room(self, size_bytes: int) -> bool:
        while True:
            used_bytes = sum(size for _, size in self._kept.values())
            lacks = used_bytes + size_bytes > self._limit_bytes
            if not lacks and disk_shortfall(self._folder, size_bytes) is None:
                return True
            oldest = next((key for key in self._kept if self._wanted[key] <= 0), None)
            if oldest is None or size_bytes > self._limit_bytes:
                return False
            with contextlib.suppress(FileNotFoundError):
                self._kept.pop(oldest)[0].unlink()
