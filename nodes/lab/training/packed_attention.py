"""Attention for packed questions (`examples.packing`): causal among a frame's tokens, masked among questions.

The stock attention with one mask would also compute the masked part.
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

from nodes.lab.training.examples.packing import PackedSequences, attention_mask

_NAME = "packed_questions"


@dataclass(frozen=True)
class PackedMask:
    """Attention mask of packed sequences.

    Attributes:
        frame_tokens: Number of the frame's tokens at the start of each sequence.
        after: bool[sequences, 1, other tokens, length], the mask of the other tokens.
    """

    frame_tokens: int
    after: Tensor

    @staticmethod
    def of(packed: PackedSequences, device: str) -> PackedMask:
        """Return the mask of packed sequences."""
        return PackedMask(packed.frame_tokens, attention_mask(packed.groups.to(device), packed.frame_tokens))


@contextmanager
def packed_attention(language_model: Any) -> Iterator[None]:
    """Make the model take a PackedMask as its attention mask within the context."""
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
    """Attend causally or by the mask; query, key and value are [sequences, heads, length, dim]."""
    frame_tokens = attention_mask.frame_tokens
    frame = functional.scaled_dot_product_attention(
        query[:, :, :frame_tokens],
        key[:, :, :frame_tokens],
        value[:, :, :frame_tokens],
        is_causal=True,
        scale=scaling,
    )
    after = functional.scaled_dot_product_attention(
        query[:, :, frame_tokens:], key, value, attn_mask=attention_mask.after, scale=scaling
    )
    return torch.cat([frame, after], dim=2).transpose(1, 2), None


AttentionInterface.register(_NAME, _attend)
