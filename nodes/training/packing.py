"""Packs one frame and all of its questions into one sequence, so that the frame is looked at once per step.

    <turn> image tokens ... </image> | question 1, answer 1 | question 2, answer 2 | ... | padding

Each question sees the image and itself, and has the positions it would have if it were alone: what is learnt
here is what happens when a single prompt is answered later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from nodes.training.questions import Question

IGNORED = -100


@dataclass(frozen=True)
class Batch:
    """Tensors of one step for `frames` frames of one size, sequences of `length` tokens.

    pixel_values [frames * patches, patch values]; image_grid [frames, 3]; input_ids and labels [frames,
    length]; positions [3, frames, length]; mask bool [frames, 1, length, length], true where a token may
    look.
    """

    pixel_values: Tensor
    image_grid: Tensor
    input_ids: Tensor
    labels: Tensor
    positions: Tensor
    mask: Tensor


class Packer:
    """Turns frames and questions into batches with a processor's own tokens, sizes and normalisation."""

    def __init__(self, processor: Any) -> None:
        tokenizer, images = processor.tokenizer, processor.image_processor
        self._patch_px = int(images.patch_size)
        mean, deviation = np.asarray(images.image_mean), np.asarray(images.image_std)
        self._scale = torch.tensor(1 / (255 * deviation), dtype=torch.float32)
        self._shift = torch.tensor(-mean / deviation, dtype=torch.float32)
        self._tokenizer = tokenizer
        self._head = self._tokens("<|im_start|>user<|vision_start|>")
        self._image_token = int(tokenizer.convert_tokens_to_ids("<|image_pad|>"))
        self._pad_token = int(tokenizer.pad_token_id)
        self._cached: dict[str, list[int]] = {}

    def _tokens(self, text: str) -> list[int]:
        return [int(token) for token in self._tokenizer(text, add_special_tokens=False)["input_ids"]]

    def pack(
        self, frames: Sequence[NDArray[np.uint8]], questions: Sequence[Sequence[Question]], reduce: int
    ) -> Batch:
        """Pack frames (height, width, 3) of one size, each reduced `reduce` times, with their questions."""
        pixels = np.stack([_reduced(frame, reduce) for frame in frames])
        grid = (pixels.shape[1] // self._patch_px, pixels.shape[2] // self._patch_px)
        rows, columns = grid[0] // 2, grid[1] // 2
        head = self._head + [self._image_token] * (rows * columns) + self._tokens("<|vision_end|>")
        packed = [self._pack_one(head, rows, columns, asked) for asked in questions]
        length = max(len(tokens) for tokens, *_ in packed)
        count = len(frames)
        input_ids = torch.full((count, length), self._pad_token)
        labels = torch.full((count, length), IGNORED)
        positions = torch.zeros((3, count, length), dtype=torch.long)
        # A padding token looks at itself, or its attention would divide by nothing.
        mask = torch.eye(length, dtype=torch.bool).repeat(count, 1, 1)
        for index, (tokens, targets, places, groups) in enumerate(packed):
            size = len(tokens)
            input_ids[index, :size] = torch.tensor(tokens)
            labels[index, :size] = torch.tensor(targets)
            positions[:, index, :size] = places
            group = torch.tensor(groups)
            same = (group[:, None] == group[None, :]) | (group[None, :] == 0)
            mask[index, :size, :size] = same & torch.ones(size, size, dtype=torch.bool).tril()
        return Batch(
            pixel_values=self._patches(torch.from_numpy(pixels)),
            image_grid=torch.tensor([[1, *grid]] * count),
            input_ids=input_ids,
            labels=labels,
            positions=positions,
            mask=mask[:, None],
        )

    def _pack_one(
        self, head: list[int], rows: int, columns: int, questions: Sequence[Question]
    ) -> tuple[list[int], list[int], Tensor, list[int]]:
        """Return tokens, targets, positions [3, length] and the group (0: the frame) of each token."""
        before = len(self._head)
        after = before + max(rows, columns)
        places = torch.arange(before).repeat(3, 1)
        row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        grid = torch.stack([torch.zeros(rows * columns, dtype=torch.long), row.flatten(), column.flatten()])
        parts = [places, grid + before, torch.full((3, 1), after)]
        tokens, groups = list(head), [0] * len(head)
        targets = [IGNORED] * len(head)
        for number, question in enumerate(questions, start=1):
            asked, answer = self._question_tokens(question.prompt), self._answer_tokens(question.truth)
            tokens += asked + answer
            targets += [IGNORED] * len(asked) + answer
            size = len(asked) + len(answer)
            groups += [number] * size
            parts.append((after + 1 + torch.arange(size)).repeat(3, 1))
        return tokens, targets, torch.cat(parts, dim=1), groups

    def _question_tokens(self, prompt: str) -> list[int]:
        if prompt not in self._cached:
            self._cached[prompt] = self._tokens(f"{prompt}<|im_end|><|im_start|>assistant")
        return self._cached[prompt]

    def _answer_tokens(self, answer: str) -> list[int]:
        return self._tokens(f"{answer}<|im_end|>")

    def _patches(self, pixels: Tensor) -> Tensor:
        """Normalise and cut into patches in Qwen2-VL's order: each 2 x 2 block of patches together."""
        frames, height, width, channels = pixels.shape
        side = self._patch_px
        normal = pixels.float() * self._scale + self._shift
        blocks = normal.view(frames, height // side // 2, 2, side, width // side // 2, 2, side, channels)
        return blocks.permute(0, 1, 4, 2, 5, 7, 3, 6).reshape(-1, channels * side * side)


def _reduced(frame: NDArray[np.uint8], reduce: int) -> NDArray[np.uint8]:
    if reduce == 1:
        return frame
    height, width = frame.shape[0] // reduce, frame.shape[1] // reduce
    return np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC))
