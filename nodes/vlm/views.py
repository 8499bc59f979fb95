"""How a frame is shown to a model: as it is, reduced, or as tiles of its own pixels and an overview.

A model of the Qwen2-VL family takes several images in one prompt, and vision towers cost the square of an
image's area: a large frame is cheaper in tiles. A folder of a model that wants tiles has a file `views.json`
beside its weights, `{"tile_px": 168, "overview_px": 224}`; one that wants the overview alone has null for the
tile (its processor would reduce the frame too, in three times the time). Any other model gets the frame as it
is.

The overview stands last, next to the question: there it is equally far from it however many tiles there are.
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
MOST_TILES = 64


@dataclass(frozen=True)
class Views:
    """Side of a tile and of the overview, pixels; no tiles where `tile_px` is None."""

    tile_px: int | None
    overview_px: int

    def of(self, frame: Image) -> tuple[list[Image], list[Box]]:
        """Tiles row by row, then the overview; and where each lies in the frame (left, top, right, bottom).

        A frame that needs more than MOST_TILES tiles is reduced until it does not; one that is no larger
        than the overview is shown as it is.
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
        """What lies in a box, at most `tile_px` a side."""
        cut = frame.crop((round(box[0]), round(box[1]), round(box[2]), round(box[3])))
        return cut if self.tile_px is None else _at_most(cut, self.tile_px)

    def overview(self, frame: Image) -> Image:
        """The whole frame, its longer side `overview_px`."""
        return _at_most(frame, self.overview_px)


def _tiles(width: int, height: int, tile_px: int) -> tuple[int, int]:
    """Rows and columns of tiles."""
    side = tile_px
    while -(-height // side) * -(-width // side) > MOST_TILES:
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
    """The views that a model's folder asks for; None without the file. Raises ValueError (one line)."""
    path = Path(folder) / FILE
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        tile = found["tile_px"]
        views = Views(None if tile is None else int(tile), int(found["overview_px"]))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"{path} does not say tile_px and overview_px in pixels: {type(error).__name__}"
        ) from error
    if min(views.tile_px or 1, views.overview_px) < 1:
        raise ValueError(f"{path}: tile_px and overview_px must be above 0")
    return views


def shown(frame: Image, views: Views | None) -> tuple[Sequence[Image], Sequence[Box] | None]:
    """The images of a prompt about a frame, and their boxes (None: each is a whole frame)."""
    return ([frame], None) if views is None else views.of(frame)
