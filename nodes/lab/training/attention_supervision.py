"""Teaches a few heads where to look: at the content that a prompt is about.

Prompts do not say where their content lies, so finding it is part of what the model has to learn. The places
come from training frames only. The first head learns to look at what counts, a quarter of its look at each
object and the rest at the sequence's first token: what it brings back then grows with their number, which a
mean over all of them would not. The second looks at all of the content.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.models.qwen2_vl import modeling_qwen2_vl

LAYER = 1  # the first has to bring the prompt's words together
HEADS = 2


class Gaze:
    """Watches one layer of a language model, and compares where its first heads look with where to look."""

    def __init__(self, language_model: Any) -> None:
        self._attention = language_model.layers[LAYER].self_attn
        self._given: dict[str, Any] = {}
        self._attention.register_forward_pre_hook(self._note, with_kwargs=True)

    def _note(self, _module: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        self._given = {"hidden_states": arguments[0]} | named if arguments else named

    def loss(self, ends: Tensor, where: Tensor, wanted: Tensor) -> Tensor:
        """Cross-entropy of attention over image tokens.

        Args:
            ends: [prompts, 2], for each its sequence and its last token.
            where: bool[sequences, length], true for image tokens; the first token is looked at too.
            wanted: [prompts, HEADS, length], where each head is to look; sums to 1, and is 0 elsewhere.
        """
        attention, hidden = self._attention, self._given["hidden_states"]
        cos, sin = self._given["position_embeddings"]
        shape = (*hidden.shape[:2], -1, attention.head_dim)
        rotate: Any = modeling_qwen2_vl.apply_rotary_pos_emb  # untyped in transformers
        queries, keys = rotate(
            attention.q_proj(hidden).view(shape).transpose(1, 2)[:, :HEADS],
            attention.k_proj(hidden).view(shape).transpose(1, 2)[:, :HEADS],
            cos,
            sin,
        )
        sequences, tokens = ends.unbind(1)
        asking = queries[sequences, :, tokens]  # [prompts, heads, dim]
        scores = torch.einsum("phd,phld->phl", asking, keys[sequences]).float() * attention.scaling
        hidden_from = ~where[sequences][:, None]
        hidden_from[..., 0] = False
        scores = scores.masked_fill(hidden_from, float("-inf"))
        looked = scores.log_softmax(-1).masked_fill(hidden_from, 0.0)
        loss: Tensor = -(wanted * looked).sum(-1).mean()
        return loss
