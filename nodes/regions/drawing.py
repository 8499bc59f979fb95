"""Drawing of the regions of a frame that were sent."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from nodes.regions.payload import Unpacked

_KEPT, _REDUCED, _DROPPED = (80, 220, 100), (240, 190, 60), (150, 150, 150)


def draw_kept(
    unpacked: Unpacked, scores: Sequence[float] | None = None, *, side_px: int = 672
) -> Image.Image:
    """Draw a message as received: full-scale regions in green, reduced ones in amber, the others dimmed.

    Args:
        unpacked: The message.
        scores: Score of every region, which is written into its corner as a share of their sum.
        side_px: Longest side of the drawing.

    Returns:
        The drawing.
    """
    grid = unpacked.grid
    scale = side_px / max(grid.width_px, grid.height_px)
    size = max(1, round(grid.width_px * scale)), max(1, round(grid.height_px * scale))
    drawing = unpacked.compose().resize(size, Image.Resampling.BILINEAR)
    reduction_of = {region.index: region.reduction for region in unpacked.regions}
    total = float(np.sum(scores)) if scores is not None else 0.0
    draw = ImageDraw.Draw(drawing)
    for index in range(len(grid)):
        left, upper, right, lower = (round(edge * scale) for edge in grid.box(index))
        if index not in reduction_of:
            cell = drawing.crop((left, upper, right, lower))
            drawing.paste(Image.blend(cell, Image.new("RGB", cell.size), 0.6), (left, upper))
        colour = {0: _DROPPED, 1: _KEPT}.get(reduction_of.get(index, 0), _REDUCED)
        draw.rectangle((left + 1, upper + 1, right - 2, lower - 2), outline=colour, width=2)
        if scores is not None and total > 0:
            draw.text((left + 5, upper + 4), f"{scores[index] / total:.2f}", fill=colour)
    return drawing
