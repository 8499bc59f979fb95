"""Packs one frame and all of its questions into one sequence, so that the frame is looked at once per step.

    <turn> <image> tokens </image> <image> ... | question 1, answer 1 | question 2, answer 2 | ... | padding

A frame is one image or several views of it (tiles and an overview). Each question sees the images and itself,
and has the positions it would have if it were alone: what is learnt here is what happens when a single prompt
is answered later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nodes.training.frames import Asked

IGNORED = -100


@dataclass(frozen=True)
class Room:
    """The place of one view in a sequence: `rows` x `columns` image tokens, after `skipped_positions`.

    What is skipped stands for tiles that a longer prompt would have there.
    """

    rows: int
    columns: int
    skipped_positions: int = 0


@dataclass(frozen=True)
class Batch:
    """Tensors of one step: sequences of `length` tokens, one for each frame.

    input_ids and labels [frames, length]; positions [3, frames, length]; mask bool
    [frames, 1, length, length], true where a token may look; ends: for each question in order (its frame,
    index of its last token before the answer).
    """

    input_ids: Tensor
    labels: Tensor
    positions: Tensor
    mask: Tensor
    ends: tuple[tuple[int, int], ...]


class Packer:
    """Turns questions into batches with a processor's own tokens, and images into its own patches."""

    def __init__(self, processor: Any) -> None:
        tokenizer, images = processor.tokenizer, processor.image_processor
        self._patch_px = int(images.patch_size)
        mean, deviation = np.asarray(images.image_mean), np.asarray(images.image_std)
        self._scale = torch.tensor(1 / (255 * deviation), dtype=torch.float32)
        self._shift = torch.tensor(-mean / deviation, dtype=torch.float32)
        self._tokenizer = tokenizer
        self._head = self._tokens("<|im_start|>user")
        self._begin_token, self._image_token, self._end_token = (
            int(tokenizer.convert_tokens_to_ids(f"<|{name}|>"))
            for name in ("vision_start", "image_pad", "vision_end")
        )
        self._pad_token = int(tokenizer.pad_token_id)
        self._cached: dict[str, list[int]] = {}

    def _tokens(self, text: str) -> list[int]:
        return [int(token) for token in self._tokenizer(text, add_special_tokens=False)["input_ids"]]

    def pack(self, frames: Sequence[Sequence[Room]], questions: Sequence[Sequence[Asked]]) -> Batch:
        """Pack frames that are one or several views each, with their questions."""
        packed = [self._pack_one(rooms, asked) for rooms, asked in zip(frames, questions, strict=True)]
        length = max(len(tokens) for tokens, *_ in packed)
        count = len(frames)
        input_ids = torch.full((count, length), self._pad_token)
        labels = torch.full((count, length), IGNORED)
        positions = torch.zeros((3, count, length), dtype=torch.long)
        # A padding token looks at itself, or its attention would divide by nothing.
        mask = torch.eye(length, dtype=torch.bool).repeat(count, 1, 1)
        ends: list[tuple[int, int]] = []
        for index, (tokens, targets, places, groups) in enumerate(packed):
            size = len(tokens)
            input_ids[index, :size] = torch.tensor(tokens)
            labels[index, :size] = torch.tensor(targets)
            positions[:, index, :size] = places
            group = torch.tensor(groups)
            same = (group[:, None] == group[None, :]) | (group[None, :] == 0)
            mask[index, :size, :size] = same & torch.ones(size, size, dtype=torch.bool).tril()
            ends += [(index, at) for at in _before_answers(targets)]
        return Batch(input_ids, labels, positions, mask[:, None], tuple(ends))

    def _pack_one(
        self, rooms: Sequence[Room], questions: Sequence[Asked]
    ) -> tuple[list[int], list[int], Tensor, list[int]]:
        """Return tokens, targets, positions [3, length] and the group (0: the frame) of each token."""
        tokens = list(self._head)
        parts = [torch.arange(len(tokens)).repeat(3, 1)]
        after = len(tokens)
        for room in rooms:
            after += room.skipped_positions
            count = room.rows * room.columns
            tokens += [self._begin_token] + [self._image_token] * count + [self._end_token]
            row, column = torch.meshgrid(torch.arange(room.rows), torch.arange(room.columns), indexing="ij")
            grid = torch.stack([torch.zeros(count, dtype=torch.long), row.flatten(), column.flatten()])
            last = after + 1 + max(room.rows, room.columns)
            parts += [torch.full((3, 1), after), grid + after + 1, torch.full((3, 1), last)]
            after = last + 1
        groups = [0] * len(tokens)
        targets = [IGNORED] * len(tokens)
        for number, question in enumerate(questions, start=1):
            asked, answer = self._question_tokens(question.prompt), self._answer_tokens(question.truth)
            tokens += asked + answer
            targets += [IGNORED] * len(asked) + answer
            size = len(asked) + len(answer)
            groups += [number] * size
            parts.append((after + torch.arange(size)).repeat(3, 1))
        return tokens, targets, torch.cat(parts, dim=1), groups

    def _question_tokens(self, prompt: str) -> list[int]:
        if prompt not in self._cached:
            self._cached[prompt] = self._tokens(f"{prompt}<|im_end|><|im_start|>assistant")
        return self._cached[prompt]

    def _answer_tokens(self, answer: str) -> list[int]:
        return self._tokens(f"{answer}<|im_end|>")

    def patches(self, pixels: NDArray[np.uint8]) -> Tensor:
        """Normalise an image and cut it into patches in Qwen2-VL's order: each 2 x 2 block together.

        Args:
            pixels: uint8[height, width, 3], both multiples of two patches.

        Returns float32[patches, 3 * patch * patch].
        """
        height, width, channels = pixels.shape
        side = self._patch_px
        normal = torch.tensor(pixels).float() * self._scale + self._shift
        blocks = normal.view(height // side // 2, 2, side, width // side // 2, 2, side, channels)
        return blocks.permute(0, 3, 1, 4, 6, 2, 5).reshape(-1, channels * side * side)

    def grid(self, pixels: NDArray[np.uint8]) -> tuple[int, int, int]:
        """Its patches: one slice, rows, columns."""
        return 1, pixels.shape[0] // self._patch_px, pixels.shape[1] // self._patch_px


def _before_answers(targets: Sequence[int]) -> list[int]:
    """The index before each run of targets."""
    return [at for at in range(len(targets) - 1) if targets[at] == IGNORED and targets[at + 1] != IGNORED]
