"""Packing of a frame and all of its questions into one sequence, so that it is encoded once per step.

    <turn> <image> tokens </image> <image> ... | question 1, answer 1 | question 2, answer 2 | ... | padding

A frame is one image or several views of it (tiles and an overview). Each question attends to the images and
itself and has the positions of a single question, so training matches inference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nodes.lab.training.examples.frames import Question

IGNORED = -100
_PADDING = -1  # the group of padding
_LENGTH_MULTIPLE = 64  # GPU kernels prefer multiples of 8, and few different lengths


@dataclass(frozen=True)
class ImageSlot:
    """The place of one view in a sequence: `rows` x `columns` image tokens.

    Attributes:
        skipped_tiles: Number of omitted tiles before it that leave a gap in positions.
        skipped_positions: Positions of each omitted tile; None for those of this slot.
        place: Name of its place, one token before it; empty for none.
    """

    rows: int
    columns: int
    skipped_tiles: int = 0
    skipped_positions: int | None = None
    place: str = ""

    @property
    def positions(self) -> int:
        """Number of positions by which the slot advances the sequence."""
        return max(self.rows, self.columns) + 2 + bool(self.place)


@dataclass(frozen=True)
class PackedSequences:
    """Packed sequences, one per frame.

    Attributes:
        input_ids: [frames, length].
        positions: [3, frames, length].
        groups: [frames, length], 0 for the frame, then a number for each question.
        label_positions: [labels, 2], sequence and token from which each label is predicted.
        labels: [labels].
        prompt_ends: For each question in order, its frame and its last token before the answer.
        frame_tokens: Number of tokens of the frame at the start of each sequence.
    """

    input_ids: Tensor
    positions: Tensor
    groups: Tensor
    label_positions: Tensor
    labels: Tensor
    prompt_ends: tuple[tuple[int, int], ...]
    frame_tokens: int


def attention_mask(groups: Tensor, start: int = 0) -> Tensor:
    """Return the attention mask of tokens from `start` on: bool[frames, 1, length - start, length].

    Tokens attend to earlier tokens of the frame and of their own group.
    """
    same = (groups[:, start:, None] == groups[:, None, :]) | (groups[:, None, :] == 0)
    length = groups.shape[1]
    return (same & torch.ones(length, length, dtype=torch.bool, device=groups.device).tril()[start:])[:, None]


class Packer:
    """Packs questions with a processor's own tokens."""

    def __init__(self, processor: Any) -> None:
        tokenizer = processor.tokenizer
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
        self, frames: Sequence[Sequence[ImageSlot]], questions: Sequence[Sequence[Question]]
    ) -> PackedSequences:
        """Pack frames, given as the slots of their views, with their questions."""
        packed = [self._pack_one(*pair) for pair in zip(frames, questions, strict=True)]
        count = len(frames)
        length = -(-max(len(tokens) for tokens, *_ in packed) // _LENGTH_MULTIPLE) * _LENGTH_MULTIPLE
        input_ids = np.full((count, length), self._pad_token)
        targets = np.full((count, length), IGNORED)
        positions = np.zeros((3, count, length), dtype=np.int64)
        groups = np.full((count, length), _PADDING)
        for index, (tokens, wanted, places, group) in enumerate(packed):
            size = len(tokens)
            input_ids[index, :size] = tokens
            targets[index, :size] = wanted
            positions[:, index, :size] = places
            groups[index, :size] = group
        label_positions = np.argwhere(targets[:, 1:] != IGNORED)
        labels = targets[label_positions[:, 0], label_positions[:, 1] + 1]
        prompt_ends = tuple(
            (int(frame), int(token)) for frame, token in label_positions if targets[frame, token] == IGNORED
        )
        return PackedSequences(
            input_ids=torch.from_numpy(input_ids),
            positions=torch.from_numpy(positions),
            groups=torch.from_numpy(groups),
            label_positions=torch.from_numpy(label_positions),
            labels=torch.from_numpy(labels),
            prompt_ends=prompt_ends,
            frame_tokens=min(int((group == 0).sum()) for *_, group in packed),
        )

    def image_places(self, slots: Sequence[ImageSlot]) -> NDArray[np.int64]:
        """Return the indices of the image tokens in a frame's sequence."""
        tokens, _ = self._views(tuple(slots))
        return np.flatnonzero(tokens == self._image_token) + len(self._head)

    def _pack_one(
        self, slots: Sequence[ImageSlot], questions: Sequence[Question]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return tokens, targets, positions [3, length] and the group (0: the frame) of each token."""
        head = len(self._head)
        image_tokens, places = self._views(tuple(slots))
        tokens: list[int] = []
        targets: list[int] = []
        groups: list[int] = []
        after: list[int] = []
        last = int(places.max()) + 1 + head
        for number, question in enumerate(questions, start=1):
            prompt, answer = self._question_tokens(question.prompt), self._answer_tokens(question.truth)
            tokens += prompt + answer
            targets += [IGNORED] * len(prompt) + answer
            size = len(prompt) + len(answer)
            groups += [number] * size
            after += range(last, last + size)
        before = head + len(image_tokens)
        return (
            np.concatenate([np.array(self._head), image_tokens, np.array(tokens, dtype=np.int64)]),
            np.concatenate([np.full(before, IGNORED), np.array(targets, dtype=np.int64)]),
            np.concatenate(
                [np.tile(np.arange(head), (3, 1)), places + head, np.tile(np.array(after, np.int64), (3, 1))],
                axis=1,
            ),
            np.concatenate([np.zeros(before, np.int64), np.array(groups, np.int64)]),
        )

    def _views(self, slots: tuple[ImageSlot, ...]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the tokens of the views, and their positions [3, tokens] from 0."""
        tokens, places, after = [], [], 0
        for slot in slots:
            after += slot.skipped_tiles * (slot.skipped_positions or slot.positions)
            count = slot.rows * slot.columns
            name = [int(self._tokenizer.convert_tokens_to_ids(slot.place))] if slot.place else []
            before = len(name) + 1
            tokens += [*name, self._begin_token, *[self._image_token] * count, self._end_token]
            row, column = np.divmod(np.arange(count), slot.columns)
            grid = np.stack([np.zeros(count, np.int64), row, column]) + before
            end = np.full((3, 1), slot.positions - 1)
            begin = np.tile(np.arange(before), (3, 1))
            places += [after + np.concatenate([begin, grid, end], axis=1)]
            after += slot.positions
        return np.array(tokens), np.concatenate(places, axis=1)

    def _question_tokens(self, prompt: str) -> list[int]:
        if prompt not in self._cached:
            self._cached[prompt] = self._tokens(f"{prompt}<|im_end|><|im_start|>assistant")
        return self._cached[prompt]

    def _answer_tokens(self, answer: str) -> list[int]:
        text = f"{answer}<|im_end|>"
        if text not in self._cached:
            self._cached[text] = self._tokens(text)
        return self._cached[text]
