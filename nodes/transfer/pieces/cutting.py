"""Cuts an item into pieces, on the satellite and in the event model of nodes/lab/evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from nodes.transfer.files import chunk_digest
from nodes.transfer.messages import INLINE_LIMIT_BYTES, PIECES_MAX, Piece


def cut(sizes_bytes: Sequence[int], chunk_bytes: int) -> list[int]:
    """Return the sizes of the chunks of a message: each piece is one, or as many as its size takes.

    Args:
        sizes_bytes: Sizes of the message's pieces; none, if it has no pieces of its own.
        chunk_bytes: Largest size of a chunk.

    Returns:
        The sizes; none if the message is cut into chunks of equal size, or travels inside its manifest.
    """
    if sum(sizes_bytes) <= INLINE_LIMIT_BYTES:
        return []
    sizes = [part for size_bytes in sizes_bytes for part in parts(size_bytes, chunk_bytes)]
    return sizes if len(sizes) <= PIECES_MAX else []


def parts(size_bytes: int, chunk_bytes: int) -> Iterator[int]:
    """Yield the sizes of the chunks of one piece."""
    while size_bytes > 0:
        yield min(size_bytes, chunk_bytes)
        size_bytes -= chunk_bytes


def pieces_of(file: Path, sizes_bytes: Sequence[int]) -> tuple[Piece, ...]:
    """Return size and digest of each piece of a file.

    Raises:
        OSError: It cannot be read.
    """
    with file.open("rb") as source:
        return tuple(Piece(size_bytes, chunk_digest(source.read(size_bytes))) for size_bytes in sizes_bytes)
