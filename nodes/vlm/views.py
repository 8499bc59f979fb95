"""Views of a frame for a model: the frame itself, a reduced one, or full-resolution tiles and an overview.

A model of the Qwen2-VL family takes several images in one prompt. The cost of its vision tower is quadratic
in an image's area, so tiles are cheaper than one large frame. A model requests tiles by a file `views.json`
next to its weights, `{"tile_px": 168, "overview_px": 224}`. If `tile_px` is null the model gets only the
overview; its processor would reduce the frame as well, but more slowly. Any other model gets the frame
unchanged.

The overview comes last, so its distance from the question does not depend on the number of tiles.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

    from nodes.vlm.token_grid import Box

FILE = "views.json"
MAX_TILES = 64


@dataclass(frozen=True)
class Views:
    """Views of a frame.

    Attributes:
        tile_px: Side of a tile in pixels; None for no tiles.
        overview_px: Longest side of the overview in pixels.
    """

    tile_px: int | None
    overview_px: int

    def of(self, frame: Image) -> tuple[list[Image], list[Box]]:
        """Return the tiles row by row and then the overview, and the box of each in the frame.

        A frame that needs more than MAX_TILES tiles is reduced until it fits; a frame that is no larger than
        the overview is shown unchanged. Boxes are left, top, right and bottom in frame pixels.
        """
        whole = (0.0, 0.0, float(frame.width), float(frame.height))
        if self.tile_px is None or max(frame.size) <= self.overview_px:
            return [self.overview(frame)], [whole]
        rows, columns = _tiles(frame.width, frame.height, self.tile_px)
        boxes: list[Box] = [
            (
                float(column * frame.width // columns),
                float(row * frame.height // rows),
                float((column + 1) * frame.width // columns),
                float((row + 1) * frame.height // rows),
            )
            for row in range(rows)
            for column in range(columns)
        ]
        return [*(self.tile(frame, box) for box in boxes), self.overview(frame)], [*boxes, whole]

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


def _tiles(width: int, height: int, tile_px: int) -> tuple[int, int]:
    """Return the number of rows and of columns of tiles."""
    side = tile_px
    while -(-height // side) * -(-width // side) > MAX_TILES:
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
        views = Views(None if tile_px is None else int(tile_px), int(content["overview_px"]))
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
