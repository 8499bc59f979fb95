"""Attention among packed questions (`packing`): most tokens are a frame's, and only look back.

Transformers' own, given the mask of all tokens, computes what it hides, too: with 64 tiles twice as much.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import AttentionInterface

from nodes.lab.training.examples.packing import Batch, mask_of

_NAME = "packed_questions"


@dataclass(frozen=True)
class PackedMask:
    """Where tokens may look.

    The first `shared` of each sequence are the frame's. after: bool[sequences, 1, others, length], of the
    others.
    """

    shared: int
    after: Tensor

    @staticmethod
    def of(batch: Batch, device: str) -> PackedMask:
        """Of a batch."""
        return PackedMask(batch.shared, mask_of(batch.groups.to(device), batch.shared))


@contextmanager
def packed(language_model: Any) -> Iterator[None]:
    """While inside, the model takes a PackedMask as its attention mask."""
    before, language_model.config._attn_implementation = language_model.config._attn_implementation, _NAME
    try:
        yield
    finally:
        language_model.config._attn_implementation = before


def _attend(
    _module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: PackedMask,
    scaling: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Look back, or where the mask says; all three are [sequences, heads, length, dim]."""
    shared = attention_mask.shared
    frame = functional.scaled_dot_product_attention(
        query[:, :, :shared], key[:, :, :shared], value[:, :, :shared], is_causal=True, scale=scaling
    )
    after = functional.scaled_dot_product_attention(
        query[:, :, shared:], key, value, attn_mask=attention_mask.after, scale=scaling
    )
    return torch.cat([frame, after], dim=2).transpose(1, 2), None


AttentionInterface.register(_NAME, _attend)
