"""A Qwen2-VL vision tower over batches of images of equal size, with the results of transformers.

transformers computes attention image by image, which leaves a GPU idle when a step has many tiles, and embeds
each patch by a convolution.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers.models.qwen2_vl import modeling_qwen2_vl


class BatchedVisionTower:
    """Batched forward pass of a vision tower.

    Args:
        visual: The tower; its methods are replaced during `encode` only.
        processor: Source of patch size and normalisation.
    """

    def __init__(self, visual: Any, processor: Any) -> None:
        images = processor.image_processor
        self._visual, self._merge = visual, int(images.merge_size)
        self._patch_px = int(images.patch_size)
        self._mean = torch.tensor(images.image_mean)[:, None, None]
        self._deviation = torch.tensor(images.image_std)[:, None, None]
        self._runs: list[tuple[int, int]] = []

    def encode(self, groups: Sequence[Tensor]) -> list[Tensor]:
        """Return the features of images.

        Args:
            groups: uint8[images, height, width, 3] each, on the tower's device; sides are whole tokens.

        Returns:
            float32[images, tokens, text_dim] for each group.
        """
        return self.encode_with_patches(groups)[0]

    def encode_with_patches(self, groups: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        """Return the features of images, and of their patches before those of a token are merged.

        Args:
            groups: As for `encode`.

        Returns:
            As from `encode`; and float32[patches, vision_dim] of all groups, image by image, token by token.
        """
        shapes = [
            (len(group), group.shape[1] // self._patch_px, group.shape[2] // self._patch_px)
            for group in groups
        ]
        self._runs = [(count, rows * columns) for count, rows, columns in shapes]
        ends = [0]
        for count, length in self._runs:
            ends += [ends[-1] + length * (n + 1) for n in range(count)]
        device = groups[0].device
        with self._batched():
            output = self._visual(
                torch.cat([self.patches(group) for group in groups]),
                grid_thw=torch.tensor(
                    [(1, rows, columns) for count, rows, columns in shapes for _ in range(count)]
                ),
                position_ids=torch.cat([self._places(*shape) for shape in shapes]).to(device),
                cu_seqlens=torch.tensor(ends, dtype=torch.int32),
            )
        seen, of_patches = output.pooler_output.float(), output.last_hidden_state.float()
        merged = self._merge**2
        parts = seen.split([count * length // merged for count, length in self._runs])
        features = [
            part.view(count, -1, part.shape[-1]) for part, (count, _) in zip(parts, self._runs, strict=True)
        ]
        return features, of_patches

    @contextmanager
    def _batched(self) -> Iterator[None]:
        instead = {self._visual.patch_embed: partial(_embed, self._visual.patch_embed)}
        instead |= {block.attn: partial(self._attend, block.attn) for block in self._visual.blocks}
        for module, forward in instead.items():
            module.forward = forward
        try:
            yield
        finally:
            for module in instead:
                del module.forward

    def patches(self, images: Tensor) -> Tensor:
        """Normalise images of equal size and cut them into patches in Qwen2-VL's order, token by token.

        Args:
            images: uint8[images, height, width, 3].

        Returns:
            float32[patches, 3 * patch * patch].
        """
        count, height, width, channels = images.shape
        side, merge = self._patch_px, self._merge
        blocks = images.view(
            count, height // side // merge, merge, side, width // side // merge, merge, side, channels
        ).permute(0, 1, 4, 2, 5, 7, 3, 6)
        flat = blocks.reshape(-1, channels, side, side).float() / 255
        normal = (flat - self._mean.to(images.device)) / self._deviation.to(images.device)
        return normal.reshape(-1, channels * side * side)

    def _places(self, count: int, rows: int, columns: int) -> Tensor:
        """Return row and column of each patch of `count` images: int64[patches, 2]."""
        merge = self._merge
        grid = torch.stack(torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij"), dim=-1)
        blocks = grid.view(rows // merge, merge, columns // merge, merge, 2).transpose(1, 2)
        return blocks.reshape(-1, 2).repeat(count, 1)

    def _attend(
        self,
        attention: Any,
        hidden_states: Tensor,
        cu_seqlens: Tensor,
        position_embeddings: tuple[Tensor, Tensor],
        **_: Any,
    ) -> Tensor:
        length = hidden_states.shape[0]
        queries, keys, values = (
            attention.qkv(hidden_states).view(length, 3, attention.num_heads, -1).unbind(1)
        )
        rotate: Any = modeling_qwen2_vl.apply_rotary_pos_emb_vision  # untyped in transformers
        queries, keys = rotate(queries, keys, *position_embeddings)
        start, attended = 0, []
        for count, tokens in self._runs:
            q, k, v = (
                part[start : start + count * tokens]
                .view(count, tokens, attention.num_heads, -1)
                .transpose(1, 2)
                for part in (queries, keys, values)
            )
            values_of_run = functional.scaled_dot_product_attention(q, k, v)
            attended.append(values_of_run.transpose(1, 2).reshape(count * tokens, -1))
            start += count * tokens
        projected: Tensor = attention.proj(torch.cat(attended))
        return projected


def _embed(embedding: Any, patches: Tensor) -> Tensor:
    weight = embedding.proj.weight
    return functional.linear(patches, weight.view(weight.shape[0], -1), embedding.proj.bias)
