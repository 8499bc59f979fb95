"""Remembers the features of tiles, so that several prompts about a frame encode each tile once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import wraps
from typing import Any

import torch
from torch import Tensor


def remember_tiles(base: Any, most: int = 2048) -> None:
    """Make `get_image_features` of a Qwen2-VL model look up images that it has encoded before.

    Args:
        base: The model without its head; its images are tiles, whose features do not depend on each other.
        most: Images that are remembered. If there are more, all are forgotten.
    """
    features_of = base.get_image_features
    known: dict[bytes, Tensor] = {}

    @wraps(features_of)  # `nodes.vlm.session` inspects the signature
    def remembered(pixel_values: Tensor, image_grid_thw: Tensor, **options: Any) -> Any:
        counts: list[int] = image_grid_thw.prod(-1).tolist()
        patches = torch.split(pixel_values, counts)
        keys = [_key(one) for one in patches]
        missing = [n for n, key in enumerate(keys) if key not in known]
        if len(known) + len(missing) > most:
            known.clear()
            missing = list(range(len(keys)))
        # An image without new ones is encoded nevertheless: its output is the form of the answer.
        asked = missing or [0]
        output = features_of(torch.cat([patches[n] for n in asked]), image_grid_thw[asked], **options)
        for number, features in zip(asked, output.pooler_output, strict=True):
            known[keys[number]] = features
        output.pooler_output = _in_order(known, keys)
        return output

    base.get_image_features = remembered


def _in_order(known: dict[bytes, Tensor], keys: Sequence[bytes]) -> tuple[Tensor, ...]:
    return tuple(known[key] for key in keys)


def _key(patches: Tensor) -> bytes:
    return hashlib.blake2b(patches.numpy().tobytes(), digest_size=16).digest()
