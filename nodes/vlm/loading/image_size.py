"""Brings images to the size that a model shall see, in pixels of their area.

An image larger than `max_pixels` is reduced as a whole and keeps its shape, so that its details are lost and
its memory is bounded. It is sent to the ground as captured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nodes.contract.models.options import ModelOptions

if TYPE_CHECKING:
    from PIL.Image import Image


def sized(images: Sequence[Image], options: ModelOptions) -> list[Image]:
    """Return images of at least `min_pixels` and at most `max_pixels`; others are returned as they are."""
    return [_sized(image, options.min_pixels, options.max_pixels) for image in images]


def _sized(image: Image, least: int | None, most: int | None) -> Image:
    area = image.width * image.height
    wanted = max(area, least or 0)
    wanted = min(wanted, most or wanted)
    if wanted == area:
        return image
    from PIL import Image as Pillow  # not for --help

    scale = math.sqrt(wanted / area)
    rounded = math.floor if wanted < area else math.ceil  # not beyond the limit
    size = (max(1, rounded(image.width * scale)), max(1, rounded(image.height * scale)))
    return image.resize(size, Pillow.Resampling.BICUBIC)
