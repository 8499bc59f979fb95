"""Batches: examples, their packed questions, and attention targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from nodes.lab.training.attention_supervision import SUPERVISED_HEADS
from nodes.lab.training.examples.examples import Example
from nodes.lab.training.examples.packing import PackedSequences, Packer
from nodes.lab.training.examples.targets import COUNTED, KINDS, DenseTargets


@dataclass(frozen=True)
class TrainingBatch:
    """Tensors of one training step; all of its frames have the same number of tiles.

    Attributes:
        image_groups: The tiles of all frames, if any, and their overviews, for `BatchedVisionTower.encode`.
        native_targets: Dense targets of the tiles.
        overview_targets: Dense targets of the overviews.
        packed: One sequence per frame.
        image_mask: bool[sequences, length], true for image tokens.
        prompt_ends: [prompts, 2], sequence and last token of each prompt about fine content.
        attention_targets: [prompts, SUPERVISED_HEADS, length], target attention from these tokens.
        first: bool[labels], whether a label is the first token of an answer.
        fine: bool[labels], whether a label is of an answer about fine content.
        cached_features: [image tokens, dim], if the vision features come from a cache.
    """

    image_groups: list[Tensor]
    native_targets: DenseTargets | None
    overview_targets: DenseTargets
    packed: PackedSequences
    image_mask: Tensor
    prompt_ends: Tensor
    attention_targets: Tensor
    first: Tensor
    fine: Tensor
    cached_features: Tensor | None = None

    @staticmethod
    def of(
        examples: Sequence[Example], packer: Packer, cached_features: Sequence[Tensor] = ()
    ) -> TrainingBatch:
        """Return the batch of some examples.

        Args:
            examples: Examples with the same number of tiles.
            packer: Packs their questions.
            cached_features: Vision features of each example, if they come from a cache.
        """
        packed = packer.pack(
            [example.slots for example in examples], [example.questions for example in examples]
        )
        tiles = [example.tiles for example in examples if example.tiles is not None]
        natives = [example.native_targets for example in examples if example.native_targets is not None]
        overviews = torch.from_numpy(np.stack([example.overview for example in examples]))
        image_mask = torch.zeros(packed.input_ids.shape, dtype=torch.bool)
        image_places = [torch.from_numpy(packer.image_places(example.slots)) for example in examples]
        for sequence, place in enumerate(image_places):
            image_mask[sequence, place] = True
        attention_of_kind = [_attention_targets(example) for example in examples]
        kinds = [question.kind for example in examples for question in example.questions]
        prompt_ends, attention_targets = [], []
        for (sequence, token), kind in zip(packed.prompt_ends, kinds, strict=True):
            if kind in attention_of_kind[sequence]:
                rows = torch.zeros(SUPERVISED_HEADS, image_mask.shape[1])
                rows[:, image_places[sequence]] = attention_of_kind[sequence][kind]
                rows[:, 0] = (1 - rows.sum(1)).clamp(min=0)
                prompt_ends.append((sequence, token))
                attention_targets.append(rows)
        starts = set(packed.prompt_ends)
        first = torch.tensor(
            [(int(sequence), int(token)) in starts for sequence, token in packed.label_positions]
        )
        fine = torch.tensor([kind in KINDS for kind in kinds])[first.cumsum(0) - 1]
        return TrainingBatch(
            image_groups=[*([torch.from_numpy(np.concatenate(tiles))] if tiles else []), overviews],
            native_targets=DenseTargets.stacked(natives) if natives else None,
            overview_targets=DenseTargets.stacked([example.overview_targets for example in examples]),
            packed=packed,
            image_mask=image_mask,
            prompt_ends=torch.tensor(prompt_ends, dtype=torch.long).view(-1, 2),
            attention_targets=torch.stack(attention_targets)
            if attention_targets
            else torch.zeros(0, SUPERVISED_HEADS, image_mask.shape[1]),
            first=first,
            fine=fine,
            cached_features=torch.cat(list(cached_features)).float() if cached_features else None,
        )

    def features(self, outputs: Sequence[Tensor]) -> Tensor:
        """Return the tower's outputs for the image groups as [image tokens, dim], sequence by sequence."""
        frames = len(outputs[-1])
        return torch.cat([part.reshape(frames, -1, part.shape[-1]) for part in outputs], dim=1).flatten(0, 1)


def _attention_targets(example: Example) -> dict[str, Tensor]:
    """Return the target attention to image tokens, [SUPERVISED_HEADS, tokens], for each kind of fine content.

    An overview does not resolve the objects: there both heads attend to all of the content.
    """
    native_targets = example.native_targets
    overview_targets = example.overview_targets
    views = [overview_targets] if native_targets is None else [native_targets, overview_targets]
    kinds = torch.cat([view.kinds.flatten(0, 2) for view in views])
    attention_of_kind = {}
    for kind in KINDS[1:]:
        content = kinds[:, KINDS.index(kind)]
        if float(content.sum()) < 1e-3:
            continue
        content = content / content.sum()
        counting = content
        if native_targets is not None:
            if kind in COUNTED:
                objects = native_targets.centres[..., COUNTED.index(kind)].flatten() / 4
            else:
                planted = native_targets.rows[..., 1:].sum(-1).flatten()
                objects = planted / planted.sum().clamp(min=1e-6)
            counting = functional.pad(objects, (0, len(kinds) - len(objects)))
        attention_of_kind[kind] = torch.stack([counting, content])
    return attention_of_kind
