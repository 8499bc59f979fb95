"""Files of a run, fetched in pieces over the management plane; the name of a file is its SHA-256.

A file is fetched once and kept for later runs. Each piece is requested, so that pieces do not arrive faster
than they can be written. A piece that was lost with a broker is requested again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from nodes.contract.board import PIECE_BYTES
from nodes.contract.files import sha256

WINDOW = 4  # pieces under way
REPEAT_S = 2.0


class FileError(RuntimeError):
    """A fetched file is not the requested one; the text is one line."""


class Fetcher:
    """Fetches missing files.

    Args:
        folder: folder of the files, created if missing.
        sizes_bytes: sizes of the required files, by SHA-256.
        request: requests the piece (sha256, offset) from the run.
    """

    def __init__(
        self, folder: Path, sizes_bytes: Mapping[str, int], request: Callable[[str, int], None]
    ) -> None:
        self._folder, self._request = folder, request
        folder.mkdir(parents=True, exist_ok=True)
        self.paths = {digest: folder / digest for digest in sizes_bytes}
        self._sizes_bytes = sizes_bytes
        self._requested_s: dict[tuple[str, int], float] = {}
        self._missing = {
            digest: set(range(0, max(1, size_bytes), PIECE_BYTES))
            for digest, size_bytes in sizes_bytes.items()
            if not self._whole(digest)
        }

    @property
    def complete(self) -> bool:
        """Whether every file has been fetched."""
        return not self._missing

    def step(self) -> None:
        """Request missing pieces, up to WINDOW at a time; call it repeatedly."""
        now_s = time.monotonic()
        self._requested_s = {piece: s for piece, s in self._requested_s.items() if now_s - s < REPEAT_S}
        missing = (
            (digest, offset) for digest, offsets in self._missing.items() for offset in sorted(offsets)
        )
        for piece in missing:
            if len(self._requested_s) >= WINDOW:
                return
            if piece not in self._requested_s:
                self._requested_s[piece] = now_s
                self._request(*piece)

    def take(self, digest: str, offset: int, data: bytes) -> None:
        """Write a piece; a piece that is not missing is ignored.

        Raises:
            FileError: the file is complete and has a different checksum.
            OSError: the piece cannot be written.
        """
        if offset not in self._missing.get(digest, ()):
            return
        size_bytes = self._sizes_bytes[digest]
        if len(data) != min(PIECE_BYTES, size_bytes - offset):
            return  # not the requested piece, which is requested again
        with os.fdopen(os.open(self._part(digest), os.O_WRONLY | os.O_CREAT, 0o644), "wb") as file:
            file.seek(offset)
            file.write(data)
        self._requested_s.pop((digest, offset), None)
        self._missing[digest].discard(offset)
        if not self._missing[digest]:
            self._finish(digest)

    def _finish(self, digest: str) -> None:
        part = self._part(digest)
        actual = sha256(part)
        if actual != digest:
            part.unlink()
            raise FileError(
                f"file {digest[:12]} has checksum {actual[:12]}: the run did not send the announced file"
            )
        part.replace(self.paths[digest])
        del self._missing[digest]

    def _part(self, digest: str) -> Path:
        return self._folder / f"{digest}.part"

    def _whole(self, digest: str) -> bool:
        """Return whether a file was fetched before; only verified files have this name."""
        path = self.paths[digest]
        return path.is_file() and path.stat().st_size == self._sizes_bytes[digest]
