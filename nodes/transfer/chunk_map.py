"""Map of the chunks of an item that are present."""

from __future__ import annotations


class ChunkMap:
    """A bitmap of `count` chunks, least significant bit first, with a running count of the set bits."""

    def __init__(self, count: int, bits: bytes = b"") -> None:
        self.count = count
        self._bits = bytearray((count + 7) // 8)
        self._bits[: len(bits)] = bits[: len(self._bits)]
        if count % 8 and self._bits:
            self._bits[-1] &= (1 << count % 8) - 1
        self.present = int.from_bytes(self._bits, "little").bit_count()
        self._first_missing = 0

    @classmethod
    def from_base(cls, count: int, base: int, bitmap: bytes) -> ChunkMap:
        """Return the map of all chunks below `base` and, from `base` on, those whose bit is set."""
        base = min(base, count)
        bits = int.from_bytes(bitmap, "little") << base | ((1 << base) - 1)
        bits &= (1 << count) - 1
        chunks = cls(count, bits.to_bytes((count + 7) // 8, "little"))
        chunks._first_missing = base
        return chunks

    def __contains__(self, index: int) -> bool:
        return bool(self._bits[index >> 3] >> (index & 7) & 1)

    def add(self, index: int) -> bool:
        """Mark a chunk as present; return False if it already was."""
        if index in self:
            return False
        self._bits[index >> 3] |= 1 << (index & 7)
        self.present += 1
        return True

    @property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        return self.present == self.count

    def first_missing(self) -> int:
        """Return the index of the first missing chunk, or `count` if none is missing."""
        # The search resumes where the last one ended; `remove` sets it back.
        while self._first_missing < self.count and self._first_missing in self:
            self._first_missing += 1
        return self._first_missing

    def from_first_missing(self) -> tuple[int, bytes]:
        """Return (base, bitmap) for `from_base`; the bitmap has no trailing zeros."""
        base = self.first_missing()
        bits = int.from_bytes(self._bits[base >> 3 :], "little") >> (base & 7)
        return base, bits.to_bytes((bits.bit_length() + 7) // 8, "little")

    def remove(self, index: int) -> None:
        """Mark a chunk as missing again."""
        if index in self:
            self._bits[index >> 3] &= ~(1 << (index & 7))
            self.present -= 1
            self._first_missing = min(self._first_missing, index)
