"""Pictures of which a satellite has made items, and the chunks that items of one picture have in common.

An empty file `outbox/pictures/<picture>` remembers across restarts that an item was made of a picture.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from pathlib import Path

from msgspec import UNSET

from nodes.transfer.messages import Manifest

REMEMBERED = 64  # pictures whose chunks are in memory, for an estimate of the bytes to send


class Pictures:
    """The pictures of one outbox. Not thread-safe.

    Args:
        outbox: folder of the outbox.
    """

    def __init__(self, outbox: Path) -> None:
        self._folder = outbox / "pictures"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._known: OrderedDict[bytes, set[object]] = OrderedDict()

    def met_before(self, manifest: Manifest) -> bool:
        """Return whether an item of the same picture was made before, also before a restart; remember it."""
        if manifest.picture is UNSET:
            return False
        place = self._folder / manifest.picture.hex()
        met = place.exists()
        with contextlib.suppress(OSError):  # then a restart costs sending pieces again
            place.touch()
        return met

    def own_bytes(self, manifest: Manifest) -> int:
        """Return the size of an item without the chunks that an earlier item of its picture has, too."""
        if manifest.picture is UNSET:
            return manifest.size_bytes
        known = self._known.setdefault(manifest.picture, set())
        self._known.move_to_end(manifest.picture)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        own_bytes = 0
        for index in range(manifest.chunks):
            if (key := manifest.chunk_key(index)) not in known:
                known.add(key)
                own_bytes += manifest.chunk_length(index)
        return own_bytes
