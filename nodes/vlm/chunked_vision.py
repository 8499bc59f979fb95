"""Passes a prompt's images through the vision tower a few at a time.

With all images at once, a tower's activations exceed a processor's caches, and the tower runs slower. The
features are the same.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from functools import wraps
from typing import Any

MAX_PATCHES = 10_000


def chunk_vision(base: Any) -> None:
    """Make `get_image_features` work in chunks, for families with patches and grids (Qwen-VL)."""
    features_of = getattr(base, "get_image_features", None)
    if features_of is None or "image_grid_thw" not in inspect.signature(features_of).parameters:
        return

    @wraps(features_of)  # transformers and `nodes.vlm.session` inspect the signature
    def chunked(pixel_values: Any, image_grid_thw: Any = None, **options: Any) -> Any:
        if image_grid_thw is None or len(image_grid_thw) < 2:
            return features_of(pixel_values, image_grid_thw, **options)
        whole: Any = None
        for images, patches in _chunks(image_grid_thw.prod(-1).tolist()):
            part = features_of(pixel_values[patches], image_grid_thw[images], **options)
            if whole is None:
                whole = part
            else:
                whole.pooler_output = (*whole.pooler_output, *part.pooler_output)
        whole.last_hidden_state = None  # only valid for the first chunk; unused
        return whole

    base.get_image_features = chunked


def _chunks(patches: list[int]) -> Iterator[tuple[slice, slice]]:
    """Yield slices of images and of patches; a chunk has at most MAX_PATCHES patches or a single image."""
    first, begin, end = 0, 0, 0
    for image, count in enumerate(patches):
        if image > first and end + count - begin > MAX_PATCHES:
            yield slice(first, image), slice(begin, end)
            first, begin = image, end
        end += count
    yield slice(first, len(patches)), slice(begin, end)
