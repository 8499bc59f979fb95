"""Packs one frame and all of its questions into one sequence, so that the frame is looked at once per step.

    <turn> <image> tokens </image> <image> ... | question 1, answer 1 | question 2, answer 2 | ... | padding

A frame is one image or several views of it (an overview and tiles). Each question sees the images and itself,
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
from PIL import Image
from torch import Tensor

from nodes.training.questions import Question

IGNORED = -100


@dataclass(frozen=True)
class Batch:
    """Tensors of one step for `frames` frames of `views` images each, sequences of `length` tokens.

    pixel_values [patches of all images, patch values]; image_grid [frames * views, 3]; input_ids and labels
    [frames, length]; positions [3, frames, length]; mask bool [frames, 1, length, length], true where a token
    may look.
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
        self._head = self._tokens("<|im_start|>user")
        self._begin_token, self._image_token, self._end_token = (
            int(tokenizer.convert_tokens_to_ids(f"<|{name}|>"))
            for name in ("vision_start", "image_pad", "vision_end")
        )
        self._pad_token = int(tokenizer.pad_token_id)
        self._cached: dict[str, list[int]] = {}

    def _tokens(self, text: str) -> list[int]:
        return [int(token) for token in self._tokenizer(text, add_special_tokens=False)["input_ids"]]

    def pack(
        self, frames: Sequence[NDArray[np.uint8]], questions: Sequence[Sequence[Question]], reduce: int
    ) -> Batch:
        """Pack frames (height, width, 3) of one size, each reduced `reduce` times, with their questions."""
        return self.pack_views([[_reduced(frame, reduce)] for frame in frames], questions)

    def pack_views(
        self, frames: Sequence[Sequence[NDArray[np.uint8]]], questions: Sequence[Sequence[Question]]
    ) -> Batch:
        """Pack frames that are several images each (height, width, 3), of any sizes, with their questions."""
        grids = [[self._grid(view) for view in views] for views in frames]
        packed = [self._pack_one(grid, asked) for grid, asked in zip(grids, questions, strict=True)]
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
        patches = [self._patches(torch.from_numpy(view.copy())) for views in frames for view in views]
        return Batch(
            pixel_values=torch.cat(patches),
            image_grid=torch.tensor([[1, *grid] for several in grids for grid in several]),
            input_ids=input_ids,
            labels=labels,
            positions=positions,
            mask=mask[:, None],
        )

    def _grid(self, image: NDArray[np.uint8]) -> tuple[int, int]:
        """Rows and columns of patches."""
        return image.shape[0] // self._patch_px, image.shape[1] // self._patch_px

    def _pack_one(
        self, grids: Sequence[tuple[int, int]], questions: Sequence[Question]
    ) -> tuple[list[int], list[int], Tensor, list[int]]:
        """Return tokens, targets, positions [3, length] and the group (0: the frame) of each token."""
        tokens = list(self._head)
        parts = [torch.arange(len(tokens)).repeat(3, 1)]
        after = len(tokens)
        for patch_rows, patch_columns in grids:
            rows, columns = patch_rows // 2, patch_columns // 2
            tokens += [self._begin_token] + [self._image_token] * (rows * columns) + [self._end_token]
            row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
            grid = torch.stack(
                [torch.zeros(rows * columns, dtype=torch.long), row.flatten(), column.flatten()]
            )
            last = after + 1 + max(rows, columns)
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

    def _patches(self, pixels: Tensor) -> Tensor:
        """Normalise an image and cut it into patches in Qwen2-VL's order: each 2 x 2 block together."""
        height, width, channels = pixels.shape
        side = self._patch_px
        normal = pixels.float() * self._scale + self._shift
        blocks = normal.view(height // side // 2, 2, side, width // side // 2, 2, side, channels)
        return blocks.permute(0, 3, 1, 4, 6, 2, 5).reshape(-1, channels * side * side)


def _reduced(frame: NDArray[np.uint8], reduce: int) -> NDArray[np.uint8]:
    if reduce == 1:
        return frame
    height, width = frame.shape[0] // reduce, frame.shape[1] // reduce
    return np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC))
