"""Message format of regions: an overview of the whole frame, and the chosen regions at their scales.

    {"v": 2, "t": "regions", "size": [width, height], "grid": [rows, columns], "overview": image}
    [index, reduction, image]                                the most relevant region
    [index, reduction, image]                                the next one, and so on
                                                             msgpack; images are whole JPEG or WebP files

A region of reduction 1 has the frame's own pixels, one of reduction 2 half as many per side, and so on.
Regions that are not listed were dropped. Unpacking restores layout, scales and sizes exactly, and pixels as
far as the codec preserves them.

Each of these msgpack values is a piece of the message. The first pieces alone are a message, too, so that a
message that a contact's end cuts off can be read up to the cut. Messages of one frame with the same grid and
settings have equal pieces for equal regions, so that the ground needs each of them once
(nodes/transfer/pieces). Version 1 was a single map, with the regions in order of their index.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import msgpack
import numpy as np
from PIL import Image

from nodes.contract.files import MOST_SCANS, has_too_many_scans
from nodes.errors import PayloadError
from nodes.regions.choice import choose
from nodes.regions.grid import Grid

VERSION = 2
OLD_VERSION = 1
Codec = Literal["JPEG", "WEBP"]
MAX_PIXELS = 64 << 20
MAX_SIDE_PX = 20_000
MAX_BYTES = 128 << 20  # of a message; a frame of MAX_PIXELS takes half as many
MAX_ENTRIES = 1 << 16  # of a list: one byte of a message is enough for an entry, which takes eight
_LARGEST_REDUCTION = 16
_LEAST_OVERVIEW_PX = 28


@dataclass(frozen=True)
class Settings:
    """Settings of packing.

    Attributes:
        overview_px: Maximum length of the overview's longest side; see `overview_size`.
        reductions: The offered scales besides "dropped", each with the share of a region's score that it
            yields. The default shares are guesses; choose them on validation data.
        codec: Pillow's name of the codec.
        quality: Quality of the codec. Encoding a JPEG again at the same quality loses almost nothing if
            regions start at multiples of 16 px, as in the shipped frames; other frames may need another
            quality.
    """

    overview_px: int = 224
    reductions: tuple[tuple[int, float], ...] = ((2, 0.4), (1, 1.0))
    codec: Codec = "JPEG"
    quality: int = 76


@dataclass(frozen=True)
class Packed:
    """A packed message.

    Attributes:
        pieces: Overview and regions, the most relevant first.
        reductions: The reduction of each region; 0 for dropped.
    """

    pieces: tuple[bytes, ...]
    reductions: tuple[int, ...]

    @property
    def data(self) -> bytes:
        """The message."""
        return b"".join(self.pieces)


@dataclass(frozen=True)
class RegionPicture:
    """A region of a message.

    Attributes:
        index: The region's number in the grid.
        reduction: Divisor of the region's number of pixels per side.
        image: The region at that scale.
    """

    index: int
    reduction: int
    image: Image.Image


@dataclass(frozen=True)
class Unpacked:
    """The content of a message."""

    grid: Grid
    overview: Image.Image
    regions: tuple[RegionPicture, ...]

    def compose(self) -> Image.Image:
        """Return the frame at full size: the enlarged overview with the received regions pasted over it."""
        frame = self.overview.resize((self.grid.width_px, self.grid.height_px), Image.Resampling.BICUBIC)
        for region in self.regions:
            left, upper, right, lower = self.grid.box(region.index)
            frame.paste(
                region.image.resize((right - left, lower - upper), Image.Resampling.BICUBIC), (left, upper)
            )
        return frame


def overview_size(grid: Grid, overview_px: int) -> tuple[int, int]:
    """Return width and height of a frame's overview.

    Its longest side is at most `overview_px` and at most a quarter of the frame's, so that the overview of a
    small frame leaves bytes for regions. It is at least 28 px, but never longer than the frame's.
    """
    longest = max(grid.width_px, grid.height_px)
    wanted = min(longest, max(min(overview_px, longest // 4), _LEAST_OVERVIEW_PX))
    return (
        max(1, round(grid.width_px * wanted / longest)),
        max(1, round(grid.height_px * wanted / longest)),
    )


def pack(
    frame: Image.Image,
    grid: Grid,
    scores: Sequence[float],
    budget_bytes: int,
    settings: Settings | None = None,
) -> Packed:
    """Pack a frame into at most `budget_bytes`, regions with a high score first.

    The overview is always included, even if it alone exceeds the budget. Every region is encoded at every
    offered scale, so that sizes are exact.

    Args:
        frame: The frame.
        grid: Its grid of regions.
        scores: Relevance of each region, at least 0.
        budget_bytes: Maximum size of the message.
        settings: Settings of packing; by default those of `Settings`.

    Returns:
        The message.

    Raises:
        ValueError: The grid is of a frame of another size.
    """
    settings = settings or Settings()
    if frame.size != (grid.width_px, grid.height_px):
        raise ValueError(
            f"the frame has {_px(frame.size)}, but the grid expects {_px((grid.width_px, grid.height_px))}"
        )
    frame = frame.convert("RGB")
    overview = _encoded(
        frame.resize(overview_size(grid, settings.overview_px), Image.Resampling.LANCZOS), settings
    )
    offers = [
        [
            msgpack.packb([index, reduction, _encoded(_reduced(frame, grid, index, reduction), settings)])
            for reduction, _ in settings.reductions
        ]
        for index in range(len(grid))
    ]
    head = _head(grid, overview)
    left_bytes = budget_bytes - len(head)
    choice = choose(
        scores,
        [[len(offer) for offer in of_region] for of_region in offers],
        [share for _, share in settings.reductions],
        max(0, left_bytes),
    )
    by_rank = sorted(range(len(grid)), key=lambda index: -scores[index])
    taken = [offers[index][choice.levels[index] - 1] for index in by_rank if choice.levels[index]]
    scale_of = [0, *(reduction for reduction, _ in settings.reductions)]
    return Packed((head, *taken), tuple(scale_of[level] for level in choice.levels))


def _head(grid: Grid, overview: bytes) -> bytes:
    size, cells = [grid.width_px, grid.height_px], [grid.rows, grid.columns]
    fields = {"v": VERSION, "t": "regions", "size": size, "grid": cells, "overview": overview}
    return bytes(msgpack.packb(fields))


def _reduced(frame: Image.Image, grid: Grid, index: int, reduction: int) -> Image.Image:
    return frame.crop(grid.box(index)).resize(_region_size(grid, index, reduction), Image.Resampling.LANCZOS)


def _region_size(grid: Grid, index: int, reduction: int) -> tuple[int, int]:
    left, upper, right, lower = grid.box(index)
    return -(-(right - left) // reduction), -(-(lower - upper) // reduction)


def _encoded(image: Image.Image, settings: Settings) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, settings.codec, quality=settings.quality)
    return buffer.getvalue()


def sent_reductions(data: bytes) -> tuple[tuple[int, int], list[int]]:
    """Return rows and columns of a message of `pack`, and the reduction of each region; 0 for dropped."""
    unpacker = msgpack.Unpacker()
    unpacker.feed(data)
    rows, columns = unpacker.unpack()["grid"]
    reductions = [0] * (rows * columns)
    for index, reduction, _ in unpacker:
        reductions[index] = reduction
    return (rows, columns), reductions


def unpack(data: bytes) -> Unpacked:
    """Read a message of regions; never decodes more pixels than the message announces.

    Raises:
        PayloadError: The message is malformed.
    """
    try:
        if len(data) > MAX_BYTES:
            raise PayloadError(f"message of regions with {len(data)} bytes; at most {MAX_BYTES} are allowed")
        values = _values(data)
        fields = next(values, None)
    except PayloadError:
        raise
    except Exception as error:  # msgpack raises half a dozen unrelated types on foreign bytes
        raise PayloadError(f"not a message of regions: {type(error).__name__}") from error
    if not isinstance(fields, dict) or fields.get("t") != "regions":
        raise PayloadError("not a message of regions")
    version = fields.get("v")
    if version not in (OLD_VERSION, VERSION):
        raise PayloadError(
            f"message of regions has version {version!r:.20}; "
            f"versions {OLD_VERSION} and {VERSION} are supported"
        )
    width_px, height_px = _pair(fields, "size", MAX_SIDE_PX)
    rows, columns = _pair(fields, "grid", MAX_SIDE_PX)
    if width_px * height_px > MAX_PIXELS:
        raise PayloadError(f"frame of {width_px} x {height_px} px exceeds the limit of {MAX_PIXELS} pixels")
    try:
        grid = Grid(width_px, height_px, rows, columns)
    except ValueError as error:
        raise PayloadError(str(error)) from None
    overview = _decoded(fields.get("overview"), "the overview", (width_px, height_px))
    regions = _regions_1(grid, fields, values) if version == OLD_VERSION else _regions_2(grid, values)
    return Unpacked(grid, overview, regions)


def _values(data: bytes) -> Iterator[object]:
    """Yield the msgpack values in some bytes; raise for bytes behind the last whole one."""
    unpacker = msgpack.Unpacker(
        io.BytesIO(data),
        strict_map_key=True,
        max_buffer_size=MAX_BYTES,
        max_array_len=MAX_ENTRIES,
        max_map_len=MAX_ENTRIES,
        max_ext_len=0,
    )
    yield from unpacker
    if unpacker.tell() != len(data):
        raise PayloadError("the message of regions ends within a piece")


def _regions_1(grid: Grid, fields: dict[str, Any], values: Iterator[object]) -> tuple[RegionPicture, ...]:
    if any(True for _ in values):
        raise PayloadError("more bytes follow the message of regions")
    entries = fields.get("regions")
    if not isinstance(entries, list):
        raise PayloadError("the regions are not a list")
    regions = tuple(_region(grid, entry) for entry in entries)
    if any(before.index >= after.index for before, after in pairwise(regions)):
        raise PayloadError("the regions are not in order, or one is repeated")
    return regions


def _regions_2(grid: Grid, values: Iterator[object]) -> tuple[RegionPicture, ...]:
    regions: dict[int, RegionPicture] = {}
    try:
        for entry in values:
            region = _region(grid, entry)
            if region.index in regions:
                raise PayloadError(f"region {region.index} is repeated")
            regions[region.index] = region
    except PayloadError:
        raise
    except Exception as error:  # as above
        raise PayloadError(f"a region cannot be read: {type(error).__name__}") from error
    return tuple(regions.values())


def _pair(fields: dict[str, Any], key: str, most: int) -> tuple[int, int]:
    value = fields.get(key)
    if not isinstance(value, list) or len(value) != 2:
        raise PayloadError(f"{key} is not two numbers")
    if any(type(number) is not int or not 1 <= number <= most for number in value):
        raise PayloadError(f"{key} is not two whole numbers from 1 to {most}")
    return value[0], value[1]


def _region(grid: Grid, entry: object) -> RegionPicture:
    if not isinstance(entry, list) or len(entry) != 3:
        raise PayloadError("a region is not [index, reduction, image]")
    index, reduction, data = entry
    if type(index) is not int or not 0 <= index < len(grid):
        raise PayloadError(f"a region's index is not a whole number from 0 to {len(grid) - 1}")
    if type(reduction) is not int or not 1 <= reduction <= _LARGEST_REDUCTION:
        raise PayloadError(f"region {index}: reduction is not a whole number from 1 to {_LARGEST_REDUCTION}")
    size = _region_size(grid, index, reduction)
    image = _decoded(data, f"region {index}", size)
    if image.size != size:
        raise PayloadError(f"region {index} has {_px(image.size)}; expected {_px(size)}")
    return RegionPicture(index, reduction, image)


def _decoded(data: object, what: str, most: tuple[int, int]) -> Image.Image:
    if not isinstance(data, bytes):
        raise PayloadError(f"{what} is not an image")
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "WEBP")) as opened:
            if has_too_many_scans(opened.format, io.BytesIO(data)):
                raise PayloadError(f"{what} is a JPEG of more than {MOST_SCANS} scans")
            if opened.size[0] > most[0] or opened.size[1] > most[1]:
                raise PayloadError(f"{what} has {_px(opened.size)}; expected at most {_px(most)}")
            image: Image.Image = opened.convert("RGB")
            return image
    except PayloadError:
        raise
    except Exception as error:  # Pillow's decoders raise many types for damaged bytes
        raise PayloadError(f"{what} cannot be decoded: {type(error).__name__}") from error


def _px(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]} px"


def difference(one: Image.Image, other: Image.Image) -> float:
    """Return the mean absolute difference of two images of the same size, 0 to 255."""
    return float(np.abs(np.asarray(one, dtype=np.int16) - np.asarray(other, dtype=np.int16)).mean())
