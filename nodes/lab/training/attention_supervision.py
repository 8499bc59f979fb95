"""Attention supervision: a loss that teaches two heads to attend to the content a prompt is about.

Prompts do not tell where their content lies, so the model must learn to find it; the positions come from
training frames only. The first head attends to the objects to count, with a weight of 1/4 on each and the
rest on the sequence's first token, so that its output grows with their number. The second attends to all of
the content.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.models.qwen2_vl import modeling_qwen2_vl

SUPERVISED_LAYER = 1  # layer 0 combines the words of the prompt
SUPERVISED_HEADS = 2


class AttentionSupervision:
    """Compares the attention of one layer's first heads with target attention.

    Args:
        language_model: The model; a hook stores the layer's inputs at each forward pass.
    """

    def __init__(self, language_model: Any) -> None:
        self._attention = language_model.layers[SUPERVISED_LAYER].self_attn
        self._inputs: dict[str, Any] = {}
        self._attention.register_forward_pre_hook(self._keep_inputs, with_kwargs=True)

    def _keep_inputs(self, _module: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        self._inputs = {"hidden_states": arguments[0]} | named if arguments else named

    def loss(self, prompt_ends: Tensor, image_mask: Tensor, attention_targets: Tensor) -> Tensor:
        """Return the cross-entropy between target attention and attention over image tokens.

        Args:
            prompt_ends: [prompts, 2], sequence and last token of each prompt.
            image_mask: bool[sequences, length], true for image tokens; the first token is included as well.
            attention_targets: [prompts, SUPERVISED_HEADS, length], each row summing to 1.
        """
        attention, hidden = self._attention, self._inputs["hidden_states"]
        cos, sin = self._inputs["position_embeddings"]
        shape = (*hidden.shape[:2], -1, attention.head_dim)
        rotate: Any = modeling_qwen2_vl.apply_rotary_pos_emb  # untyped in transformers
        queries, keys = rotate(
            attention.q_proj(hidden).view(shape).transpose(1, 2)[:, :SUPERVISED_HEADS],
            attention.k_proj(hidden).view(shape).transpose(1, 2)[:, :SUPERVISED_HEADS],
            cos,
            sin,
        )
        sequences, tokens = prompt_ends.unbind(1)
        prompt_queries = queries[sequences, :, tokens]  # [prompts, heads, dim]
        scores = torch.einsum("phd,phld->phl", prompt_queries, keys[sequences]).float() * attention.scaling
        masked = ~image_mask[sequences][:, None]
        masked[..., 0] = False
        scores = scores.masked_fill(masked, float("-inf"))
        log_attention = scores.log_softmax(-1).masked_fill(masked, 0.0)
        loss: Tensor = -(attention_targets * log_attention).sum(-1).mean()
        return loss
