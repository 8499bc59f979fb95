"""Vocabulary, untrained model and processor; the dense head, and the logits of packed sequences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import Qwen2VLForConditionalGeneration

from nodes.lab.eo_mini_2.answers import (
    CANNOT_TELL,
    COLUMNS,
    COUNT_WORDS,
    NOTHING_VISIBLE,
    ROWS,
    SIZES,
    tokens,
)
from nodes.lab.eo_mini_2.learning.scenes import SHAPE_COUNT
from nodes.lab.eo_mini_2.questions import PROMPTS
from nodes.lab.eo_mini_2.scene import SHAPES
from nodes.lab.training.architecture import Recipe, build_config
from nodes.lab.training.examples.packing import ImageSlot, PackedSequences, Packer
from nodes.lab.training.packed_attention import PackedMask, packed_attention
from nodes.lab.training.vision.fourier_init import initialise_fourier
from nodes.lab.training.word_tokenizer import build_processor

_CENTRE_WEIGHT = 3.0  # of a token or cell that shows a centre, where most show none
_COVER_WEIGHT, _LEAST_COVER = 3.0, 0.02
_BRANCH_GAIN = 0.5  # of what a block adds to its input, at first


def vocabulary() -> list[str]:
    """Return the words and marks of prompts and answers, sorted."""
    words = {
        *(word for prompt in PROMPTS for word in tokens(prompt)),
        *(shape for pair in SHAPES.values() for shape in pair),
        *(*COUNT_WORDS, *SIZES, *ROWS, *COLUMNS, "yes", "no", ";"),
        *CANNOT_TELL.split(),
        *NOTHING_VISIBLE.split(),
    }
    return sorted(words)


def build(recipe: Recipe, place_names: Sequence[str] = ()) -> tuple[Any, Any]:
    """Build processor and untrained model.

    Args:
        recipe: Sizes of the model.
        place_names: Names of places, each of which is one token (`nodes.vlm.views`).
    """
    processor = build_processor(
        vocabulary(),
        largest_px=recipe.tile_px or recipe.overview_px,
        patch_px=recipe.patch_px,
        merge=recipe.merge,
        names=place_names,
    )
    model = Qwen2VLForConditionalGeneration(build_config(recipe, processor.tokenizer))
    initialise_fourier(model.model.visual.patch_embed.proj.weight)
    _initialise_blocks(model.model.visual)
    return processor, model


def _initialise_blocks(visual: nn.Module) -> None:
    """Initialise a tower's blocks and merger so that they keep the size of their input.

    The deviation of 0.02 in transformers suits wide models. In one of 64 or 128 channels, blocks add almost
    nothing at first, and the tower needs half as many steps again to find things.
    """
    for name, weight in visual.named_parameters():
        if weight.ndim == 2:
            gain = _BRANCH_GAIN if name.endswith(("attn.proj.weight", "fc2.weight")) else 1.0
            nn.init.normal_(weight, 0.0, gain / math.sqrt(weight.shape[1]))


def dense_head(dim: int, outputs: int) -> nn.Linear:
    """Return a head that predicts what each token shows; it is discarded after training."""
    head = nn.Linear(dim, outputs)
    nn.init.constant_(head.bias, -4.0)
    return head


def cover_head(dim: int) -> nn.Linear:
    """Return a head that predicts what covers each patch; it is discarded after training."""
    head = nn.Linear(dim, SHAPE_COUNT)
    nn.init.constant_(head.bias, -2.0)
    return head


def dense_losses(logits: Tensor, wanted: Tensor) -> dict[str, Tensor]:
    """Return the losses of a dense head: where centres are, and of which classes they are.

    Two losses, since the many places without a centre would otherwise drown the classes.

    Args:
        logits: float32[..., classes].
        wanted: Whether a centre of each class is there; like `logits`.

    Returns:
        "centre": Cross-entropy of whether any centre is there, per centre that there is.
        "class": Cross-entropy of the classes where there are centres.
    """
    present = wanted.sum(-1) > 0
    centre = functional.binary_cross_entropy_with_logits(
        logits.logsumexp(-1),
        present.float(),
        reduction="sum",
        pos_weight=torch.tensor(_CENTRE_WEIGHT),
    )
    shares = wanted[present] / wanted[present].sum(-1, keepdim=True)
    classes = functional.cross_entropy(logits[present], shares, reduction="sum")
    count = present.sum().clamp(min=1)
    return {"centre": centre / count / _CENTRE_WEIGHT, "class": classes / count}


def cover_losses(logits: Tensor, cover: Tensor) -> dict[str, Tensor]:
    """Return the losses of a head that tells from a patch what covers it, and of which shape.

    Each patch that a thing touches says which shape it is. A tower learns shapes from that in a third of the
    steps that it needs with centres alone.

    Args:
        logits: float32[patches, shapes].
        cover: Share of each patch that each shape covers; like `logits`.

    Returns:
        "cover": Cross-entropy of how much is covered.
        "shape": Cross-entropy of the shapes, weighted by the root of what they cover.
    """
    total = cover.sum(-1)
    covered = functional.binary_cross_entropy_with_logits(logits.logsumexp(-1), total.clamp(max=1))
    weight = total.sqrt() * (total > _LEAST_COVER)
    shares = cover / total.clamp(min=_LEAST_COVER)[:, None]
    shapes = -(shares * logits.log_softmax(-1)).sum(-1)
    return {
        "cover": _COVER_WEIGHT * covered,
        "shape": (shapes * weight).sum() / weight.sum().clamp(min=_LEAST_COVER),
    }


def by_token(cells: Tensor, side: int) -> Tensor:
    """Return what belongs to the cells of images, token by token.

    Args:
        cells: [images, rows, columns, values].
        side: Cells along the side of a token.

    Returns:
        [images, tokens, side * side, values].
    """
    count, rows, columns, values = cells.shape
    parts = cells.view(count, rows // side, side, columns // side, side, values).transpose(2, 3)
    return parts.reshape(count, -1, side**2, values)


def image_mask(packer: Packer, packed: PackedSequences, slots: Sequence[Sequence[ImageSlot]]) -> Tensor:
    """Return which tokens of packed sequences are image tokens: bool[sequences, length].

    Args:
        packer: What packed them.
        packed: The sequences.
        slots: Places of each sequence's images.
    """
    mask = torch.zeros(packed.input_ids.shape, dtype=torch.bool)
    for sequence, of_sequence in enumerate(slots):
        mask[sequence, torch.from_numpy(packer.image_places(of_sequence))] = True
    return mask


def answer_logits(model: Any, packed: PackedSequences, features: Tensor, mask: Tensor) -> Tensor:
    """Return the logits [labels, vocabulary] of packed sequences.

    Args:
        model: The model.
        packed: The sequences.
        features: Features of the image tokens, [tokens, dim], sequence by sequence.
        mask: Which tokens are image tokens.
    """
    embedded = model.get_input_embeddings()(packed.input_ids)
    language_model = model.model.language_model
    with packed_attention(language_model):
        hidden = language_model(
            inputs_embeds=embedded.masked_scatter(mask[..., None], features.to(embedded.dtype)),
            position_ids=packed.positions,
            attention_mask={"full_attention": PackedMask.of(packed, "cpu")},
            use_cache=False,
        ).last_hidden_state
    sequences, at = packed.label_positions.unbind(1)
    logits: Tensor = model.lm_head(hidden[sequences, at]).float()
    return logits


def answer_losses(logits: Tensor, packed: PackedSequences) -> dict[str, Tensor]:
    """Return the cross-entropy of answers, and the share of their tokens that are right."""
    right = (logits.detach().argmax(-1) == packed.labels).float().mean()
    return {"answer": functional.cross_entropy(logits, packed.labels), "right": right}
