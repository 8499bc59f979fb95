"""Files of a run, fetched over the management plane piece by piece; a file's name is its SHA-256.

A file is fetched once, also for later runs. Each piece is requested, so that none arrives faster than it can
be written, and a piece that was lost with a broker is requested again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from nodes.contract.board import PIECE_BYTES
from nodes.contract.files import sha256

WINDOW = 4  # pieces under way
AGAIN_S = 2.0


class FileError(RuntimeError):
    """A fetched file is not the requested one; the text is one line."""


class Fetcher:
    """Fetches missing files.

    Args:
        folder: where files lie; made if missing.
        sizes_bytes: what is wanted, by SHA-256.
        ask: asks the run for the piece (sha256, offset).
    """

    def __init__(self, folder: Path, sizes_bytes: Mapping[str, int], ask: Callable[[str, int], None]) -> None:
        self._folder, self._ask = folder, ask
        folder.mkdir(parents=True, exist_ok=True)
        self.paths = {digest: folder / digest for digest in sizes_bytes}
        self._sizes_bytes = sizes_bytes
        self._asked: dict[tuple[str, int], float] = {}
        self._missing = {
            digest: set(range(0, max(1, size_bytes), PIECE_BYTES))
            for digest, size_bytes in sizes_bytes.items()
            if not self._whole(digest)
        }

    @property
    def complete(self) -> bool:
        """Whether every file is there."""
        return not self._missing

    def step(self) -> None:
        """Request missing pieces, up to WINDOW at a time; to be called repeatedly."""
        now_s = time.monotonic()
        self._asked = {piece: s for piece, s in self._asked.items() if now_s - s < AGAIN_S}
        wanted = ((digest, offset) for digest, offsets in self._missing.items() for offset in sorted(offsets))
        for piece in wanted:
            if len(self._asked) >= WINDOW:
                return
            if piece not in self._asked:
                self._asked[piece] = now_s
                self._ask(*piece)

    def take(self, digest: str, offset: int, data: bytes) -> None:
        """Write a piece; one that was not requested is dropped.

        Raises:
            FileError: the file is complete and has another checksum.
            OSError: the piece cannot be written.
        """
        if offset not in self._missing.get(digest, ()):
            return
        size_bytes = self._sizes_bytes[digest]
        if len(data) != min(PIECE_BYTES, size_bytes - offset):
            return  # not what was asked for; it is asked for again
        with os.fdopen(os.open(self._part(digest), os.O_WRONLY | os.O_CREAT, 0o644), "wb") as file:
            file.seek(offset)
            file.write(data)
        self._asked.pop((digest, offset), None)
        self._missing[digest].discard(offset)
        if not self._missing[digest]:
            self._finish(digest)

    def _finish(self, digest: str) -> None:
        part = self._part(digest)
        found = sha256(part)
        if found != digest:
            part.unlink()
            raise FileError(
                f"file {digest[:12]} has checksum {found[:12]}: the run sent another file than it named"
            )
        part.replace(self.paths[digest])
        del self._missing[digest]

    def _part(self, digest: str) -> Path:
        return self._folder / f"{digest}.part"

    def _whole(self, digest: str) -> bool:
        """Return whether a file is there; only checked files have this name."""
        path = self.paths[digest]
        return path.is_file() and path.stat().st_size == self._sizes_bytes[digest]
