"""Pieces that an inbox holds of a picture, in items that have come before.

    inbox/<satellite>/.pictures/<picture>/<id>      empty; names an item that was made of the picture

A station that shares the folder finds them as well, and so does one that has been started again.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from msgspec import UNSET

from nodes.transfer.files import DIGEST_BYTES, chunk_digest, read_at, read_manifest
from nodes.transfer.inbox_item import InboxItem
from nodes.transfer.messages import Chunk

PICTURES = ".pictures"


def note(item: InboxItem) -> None:
    """Note which picture an item was made of; if it cannot be noted, its pieces are sent again."""
    picture = item.manifest.picture
    if picture is UNSET or item.manifest.inline:
        return
    with contextlib.suppress(OSError):
        place = item.folder.parent / PICTURES / picture.hex()
        place.mkdir(parents=True, exist_ok=True)
        (place / item.folder.name).touch()


def fill(item: InboxItem) -> None:
    """Copy the chunks that an item lacks from other items of its picture, as far as the inbox holds them.

    Call it within `InboxItem.locked`. An item whose bytes were damaged gets all from the satellite.

    Raises:
        OSError: The item cannot be written.
    """
    picture = item.manifest.picture
    if picture is UNSET or item.failed_tries:
        return
    try:
        names = sorted(path.name for path in (item.folder.parent / PICTURES / picture.hex()).iterdir())
    except OSError:
        return
    for name in names:
        if item.chunks.complete:
            return
        if name != item.folder.name:
            _copy(item.folder.parent / name, item)


def _copy(source: Path, item: InboxItem) -> None:
    """Copy from another item, which another station may change meanwhile: each chunk is checked."""
    manifest = None
    with contextlib.suppress(OSError):
        manifest = read_manifest(source / "manifest")
    if manifest is None or manifest.inline:
        return
    places = {manifest.chunk_key(index): index for index in range(manifest.chunks)}
    for index in range(item.manifest.chunks):
        found = None if index in item.chunks else places.get(item.manifest.chunk_key(index))
        if found is None:
            continue
        offset, length = manifest.chunk_offset(found), manifest.chunk_length(found)
        data = _read(source, found, offset, length)
        pieces = item.manifest.pieces
        if data is not None and (pieces is UNSET or chunk_digest(data) == pieces[index].digest):
            item.write(Chunk(item.manifest.item_id, item.manifest.chunk_offset(index), data))


def _read(source: Path, index: int, offset: int, length: int) -> bytes | None:
    """Return a chunk of an item, complete or in part; None if it is missing or damaged."""
    try:
        data = read_at(source / "data", offset, length)
        return data if len(data) == length else None
    except OSError:
        pass
    try:
        written = read_at(source / "digests", index * DIGEST_BYTES, DIGEST_BYTES)
        data = read_at(source / "part", offset, length)
    except OSError:
        return None
    return data if chunk_digest(data) == written else None
