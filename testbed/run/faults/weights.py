"""A copy of a model with flipped bits in its weights.

The weights are safetensors files: eight bytes with the length of a JSON header, the header, the tensors. The
copy's header also names the damage, so that the copy is another model for all that remember answers.
"""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nodes.contract.files import replacing

_LENGTH = struct.Struct("<Q")
_SUFFIX = ".safetensors"
_FLOATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}
_SIZES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}


@dataclass(frozen=True)
class Flip:
    """One flipped bit.

    Attributes:
        file: The file.
        tensor: The tensor in it.
        element: Index of the number in the flat tensor.
        bit: Number of the bit, from the least significant one.
        before: The number before, as text.
        after: The number after, as text.
    """

    file: str
    tensor: str
    element: int
    bit: int
    before: str
    after: str

    def line(self) -> str:
        """Return the flip in words."""
        return f"{self.tensor}[{self.element}] bit {self.bit}: {self.before} is now {self.after}"


def damaged_copy(model: Path, copy: Path, flips: int, seed: int) -> tuple[Flip, ...]:
    """Copy a model's folder with flipped bits; each bit of all tensors is hit alike, and none twice.

    Args:
        model: the folder.
        copy: the new folder.
        flips: number of bits.
        seed: chooses them.

    Returns:
        The flips, in order of file and place.

    Raises:
        OSError: a file cannot be read or written.
        ValueError: the weights have fewer bits, or a file is no safetensors file.
    """
    files = sorted(model.glob(f"*{_SUFFIX}"))
    heads = {path: _head(path) for path in files}
    sizes_bits = np.array([8 * _data_bytes(path, heads[path][1]) for path in files])
    if flips > sizes_bits.sum():
        raise ValueError(f"{model} has {sizes_bits.sum()} bits of weights, fewer than {flips}")
    places = np.sort(np.random.default_rng(seed).choice(int(sizes_bits.sum()), flips, replace=False))
    copy.mkdir(parents=True)
    for path in model.iterdir():
        if path.is_file() and path not in heads:
            shutil.copyfile(path, copy / path.name)
    made: list[Flip] = []
    ends = np.cumsum(sizes_bits)
    for path, begin, end in zip(files, ends - sizes_bits, ends, strict=True):
        own = places[(places >= begin) & (places < end)] - begin
        made += _damaged(path, copy / path.name, heads[path], own.tolist())
    return tuple(made)


def _head(path: Path) -> tuple[dict[str, Any], int]:
    """Return the header and the place at which the tensors begin."""
    with path.open("rb") as file:
        try:
            (length,) = _LENGTH.unpack(file.read(_LENGTH.size))
            header = json.loads(file.read(length))
        except (struct.error, ValueError, OverflowError, MemoryError) as error:
            raise ValueError(f"{path} is no safetensors file: {error}") from None
    return header, _LENGTH.size + length


def _data_bytes(path: Path, begin: int) -> int:
    return path.stat().st_size - begin


def _damaged(path: Path, to: Path, head: tuple[dict[str, Any], int], bits: Sequence[int]) -> list[Flip]:
    header, begin = head
    changed: dict[int, int] = {}  # bytes of the tensors by their place
    flips = []
    with path.open("rb") as source:
        for bit in bits:
            name, offset, size_bytes, kind = _tensor_at(header, bit // 8)
            first = offset + (bit // 8 - offset) // size_bytes * size_bytes
            source.seek(begin + first)
            stored = source.read(size_bytes)
            places = range(first, first + size_bytes)
            now = bytearray(changed.get(place, byte) for place, byte in zip(places, stored, strict=True))
            before = _shown(now, kind)
            now[bit // 8 - first] ^= 1 << (bit % 8)
            changed[bit // 8] = now[bit // 8 - first]
            number = 8 * (bit // 8 - first) + bit % 8
            flips.append(
                Flip(path.name, name, (first - offset) // size_bytes, number, before, _shown(now, kind))
            )
        about = dict(header.get("__metadata__", {})) | {"damage": json.dumps([one.line() for one in flips])}
        text = json.dumps(header | {"__metadata__": about}).encode()
        text += b" " * (-len(text) % 8)
        with replacing(to) as temporary, temporary.open("wb") as file:
            file.write(_LENGTH.pack(len(text)) + text)
            source.seek(begin)
            shutil.copyfileobj(source, file)  # large ones do not fit into the memory twice
            for place, byte in changed.items():
                file.seek(_LENGTH.size + len(text) + place)
                file.write(bytes([byte]))
    return flips


def _tensor_at(header: dict[str, Any], place: int) -> tuple[str, int, int, str]:
    """Return name, begin, size of a number and its type, of the tensor at a place of the data."""
    for name, about in header.items():
        if name != "__metadata__":
            begin, end = about["data_offsets"]
            if begin <= place < end:
                return name, begin, _SIZES.get(about["dtype"], 1), about["dtype"]
    return "padding", place, 1, "U8"


def _shown(number: bytes | bytearray, kind: str) -> str:
    if kind == "BF16":
        return f"{np.frombuffer(bytes(2) + bytes(number), '<f4')[0]:.4g}"
    if kind in _FLOATS:
        return f"{np.frombuffer(number, _FLOATS[kind])[0]:.4g}"
    return str(int.from_bytes(number, "little"))
