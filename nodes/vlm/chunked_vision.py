"""Lets a vision tower look at a prompt's images a few at a time.

All at once, what a tower holds between its layers is larger than a processor's caches: 64 tiles of 168 px
took 1.5 times as long together as in sixteens, on one thread. The features are the same.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from functools import wraps
from typing import Any

MOST_PATCHES = 10_000


def look_few_at_once(base: Any) -> None:
    """Change `get_image_features` where images come as patches and grids (the Qwen-VL families)."""
    seeing = getattr(base, "get_image_features", None)
    if seeing is None or "image_grid_thw" not in inspect.signature(seeing).parameters:
        return

    @wraps(seeing)  # transformers and `nodes.vlm.session` look at the signature
    def few_at_once(pixel_values: Any, image_grid_thw: Any = None, **named: Any) -> Any:
        if image_grid_thw is None or len(image_grid_thw) < 2:
            return seeing(pixel_values, image_grid_thw, **named)
        whole: Any = None
        for images, patches in _parts(image_grid_thw.prod(-1).tolist()):
            part = seeing(pixel_values[patches], image_grid_thw[images], **named)
            if whole is None:
                whole = part
            else:
                whole.pooler_output = (*whole.pooler_output, *part.pooler_output)
        whole.last_hidden_state = None  # of the first part only, and nobody's business
        return whole

    base.get_image_features = few_at_once


def _parts(patches: list[int]) -> Iterator[tuple[slice, slice]]:
    """Neighbouring images of at most MOST_PATCHES together, or one: which images, which patches."""
    first, begun, end = 0, 0, 0
    for image, count in enumerate(patches):
        if image > first and end + count - begun > MOST_PATCHES:
            yield slice(first, image), slice(begun, end)
            first, begun = image, end
        end += count
    yield slice(first, len(patches)), slice(begun, end)
