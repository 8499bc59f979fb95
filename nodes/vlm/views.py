"""Views of a frame for a model: the frame itself, a reduced one, or full-resolution tiles and an overview.

A model of the Qwen2-VL family takes several images in one prompt. The cost of its vision tower is quadratic
in an image's area, so tiles are cheaper than one large frame. A model requests tiles by a file `views.json`
next to its weights, `{"tile_px": 168, "overview_px": 224}`. If `tile_px` is null the model gets only the
overview; its processor would reduce the frame as well, but more slowly. Any other model gets the frame
unchanged.

The overview comes last, so its distance from the question does not depend on the number of tiles.

With `"places": true` the overview is cut into tiles as well, and a token before each tile names its place:
`<row_3_col_5>`, or `<overview_1_2>`. Tiles can then be left out, as where only regions were received, and the
others keep their place.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image

    from nodes.vlm.token_grid import Box

FILE = "views.json"
MAX_TILES = 64
MAX_PLACES = 16  # rows, and columns, of tiles whose places have names


@dataclass(frozen=True)
class Views:
    """Views of a frame.

    Attributes:
        tile_px: Side of a tile in pixels; None for no tiles.
        overview_px: Longest side of the overview in pixels.
        places: Whether the overview is cut into tiles, and the place of each tile is named.
    """

    tile_px: int | None
    overview_px: int
    places: bool = False

    @property
    def most_tiles(self) -> int:
        """Largest number of tiles of a frame."""
        return MAX_PLACES**2 if self.places else MAX_TILES

    @property
    def place_names(self) -> tuple[str, ...]:
        """Every name of a place; none if places have no names."""
        if not self.places or self.tile_px is None:
            return ()
        side = -(-self.overview_px // self.tile_px)
        sides = (("row_{}_col_{}", MAX_PLACES), ("overview_{}_{}", side))
        return tuple(
            f"<{name.format(row + 1, column + 1)}>"
            for name, most in sides
            for row in range(most)
            for column in range(most)
        )

    def of(
        self, frame: Image, received: Sequence[tuple[int, int, int, int]] | None = None
    ) -> tuple[list[Image], list[Box]]:
        """Return the tiles row by row and then the overview, and the box of each in the frame.

        A frame that needs more than `most_tiles` tiles is reduced until it fits; a frame that is no larger
        than the overview is shown unchanged. Boxes are left, top, right and bottom in frame pixels.

        Args:
            frame: The frame.
            received: Boxes of the parts that are sharper than the overview; None for all of it. The other
                tiles are left out if places have names.
        """
        whole = (0.0, 0.0, float(frame.width), float(frame.height))
        if self.places and self.tile_px is not None:
            return self._placed(frame, self.tile_px, whole, received)
        if self.tile_px is None or max(frame.size) <= self.overview_px:
            return [self.overview(frame)], [whole]
        boxes = _grid(whole, *_tiles(frame.width, frame.height, self.tile_px, self.most_tiles))
        return [*(self.tile(frame, box) for box in boxes), self.overview(frame)], [*boxes, whole]

    def _placed(
        self,
        frame: Image,
        tile_px: int,
        whole: Box,
        received: Sequence[tuple[int, int, int, int]] | None,
    ) -> tuple[list[Image], list[Box]]:
        """Return tiles of the frame, unless the overview has its pixels, and tiles of the overview."""
        images: list[Image] = []
        boxes: list[Box] = []
        if max(frame.size) > self.overview_px:
            every = _grid(whole, *_tiles(frame.width, frame.height, tile_px, self.most_tiles))
            boxes = [box for box in every if received is None or _in_one_of(box, received)]
            images = [self.tile(frame, box) for box in boxes]
        small = self.overview(frame)
        across, down = frame.width / small.width, frame.height / small.height
        cut = _grid(
            (0.0, 0.0, float(small.width), float(small.height)), *_tiles(*small.size, tile_px, 1 << 30)
        )
        images += [self.tile(small, box) for box in cut]
        boxes += [
            (left * across, top * down, right * across, bottom * down) for left, top, right, bottom in cut
        ]
        return images, boxes

    def names_of(self, boxes: Sequence[Box]) -> list[str]:
        """Return the name of the place of each tile; empty names if places have none.

        Args:
            boxes: Box of each tile in the frame, in any unit; those of the overview cover the frame.
        """
        if not self.places or self.tile_px is None:
            return [""] * len(boxes)
        width, height = max(box[2] for box in boxes), max(box[3] for box in boxes)
        side = -(-self.overview_px // self.tile_px)
        return [_name(box, width, height, side) for box in boxes]

    def to_json(self) -> dict[str, Any]:
        """Return the content of `views.json`."""
        fields: dict[str, Any] = {"tile_px": self.tile_px, "overview_px": self.overview_px}
        return fields | ({"places": True} if self.places else {})

    def tile(self, frame: Image, box: Box) -> Image:
        """Return the content of a box, with sides of at most `tile_px`."""
        content = frame.crop((round(box[0]), round(box[1]), round(box[2]), round(box[3])))
        return content if self.tile_px is None else _at_most(content, self.tile_px)

    def overview(self, frame: Image) -> Image:
        """Return the whole frame, with sides of at most `overview_px`."""
        return _at_most(frame, self.overview_px)


@dataclass(frozen=True)
class ShownFrame:
    """A frame as a model sees it.

    Attributes:
        images: Images of the prompt.
        boxes: The box of each in the frame, in its pixels; None: each is a whole frame.
        width: Width of the frame, in pixels.
        height: Height of the frame, in pixels.
    """

    images: Sequence[Image]
    boxes: Sequence[Box] | None
    width: int
    height: int

    @classmethod
    def of(cls, frame: Image, views: Views | None) -> ShownFrame:
        """Return the frame in a model's views."""
        images, boxes = shown(frame, views)
        return cls(images, boxes, frame.width, frame.height)


def _name(box: Box, width: float, height: float, overview_side: int) -> str:
    """Return the name of a tile's place; a tile as large as one of the overview is one of the overview."""
    left, top, right, bottom = box
    row, column = round(top / (bottom - top)) + 1, round(left / (right - left)) + 1
    across, down = round(width / (right - left)), round(height / (bottom - top))
    if max(across, down) <= overview_side:
        return f"<overview_{row}_{column}>"
    return f"<row_{row}_col_{column}>"


def _in_one_of(tile: Box, boxes: Sequence[tuple[int, int, int, int]]) -> bool:
    """Return whether the centre of a tile lies in one of some boxes."""
    x, y = (tile[0] + tile[2]) / 2, (tile[1] + tile[3]) / 2
    return any(left <= x < right and top <= y < bottom for left, top, right, bottom in boxes)


def _grid(box: Box, rows: int, columns: int) -> list[Box]:
    """Return the boxes of a grid over a box that begins at 0, row by row, with whole sides."""
    width, height = int(box[2]), int(box[3])
    return [
        (
            float(column * width // columns),
            float(row * height // rows),
            float((column + 1) * width // columns),
            float((row + 1) * height // rows),
        )
        for row in range(rows)
        for column in range(columns)
    ]


def _tiles(width: int, height: int, tile_px: int, most: int) -> tuple[int, int]:
    """Return the number of rows and of columns of tiles."""
    side = tile_px
    while -(-height // side) * -(-width // side) > most:
        side += -(-tile_px // 2)
    return -(-height // side), -(-width // side)


def _at_most(image: Image, side_px: int) -> Image:
    from PIL import Image as Pillow  # not for --help

    longest = max(image.size)
    if longest <= side_px:
        return image
    size = (max(1, round(image.width * side_px / longest)), max(1, round(image.height * side_px / longest)))
    return image.resize(size, Pillow.Resampling.BICUBIC)


def read_views(folder: str | Path) -> Views | None:
    """Read the views that a model's folder requests; None without the file.

    Raises:
        ValueError: The file is invalid; the text is one line.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        tile_px = content["tile_px"]
        places = content.get("places", False) is True
        views = Views(None if tile_px is None else int(tile_px), int(content["overview_px"]), places)
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(
            f"{path} does not define tile_px and overview_px in pixels: {type(error).__name__}"
        ) from error
    if min(views.tile_px or 1, views.overview_px) < 1:
        raise ValueError(f"{path}: tile_px and overview_px must be above 0")
    return views


def shown(frame: Image, views: Views | None) -> tuple[Sequence[Image], Sequence[Box] | None]:
    """Return the images of a prompt about a frame, and their boxes (None: each is a whole frame)."""
    return ([frame], None) if views is None else views.of(frame)
