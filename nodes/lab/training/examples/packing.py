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

from nodes.lab.training.examples.frames import Asked

IGNORED = -100
_PADDING = -1  # the group of padding
_LENGTH_OF = 64  # GPU kernels want lengths that are multiples of 8; few different ones spare them tuning


@dataclass(frozen=True)
class Room:
    """The place of one view in a sequence: `rows` x `columns` image tokens.

    skipped_rooms: tiles left out before it, which a longer prompt would have there, of `of_positions`
    positions each (its own, where None).
    """

    rows: int
    columns: int
    skipped_rooms: int = 0
    of_positions: int | None = None

    @property
    def positions(self) -> int:
        """How far the sequence's position goes on over it."""
        return max(self.rows, self.columns) + 2


@dataclass(frozen=True)
class Batch:
    """Tensors of one step: sequences of `length` tokens, one for each frame.

    input_ids [frames, length]; positions [3, frames, length]; groups [frames, length]: 0 for the frame, then
    one for each question; labelled [labels, 2]: the sequence and the token from which a label is foretold,
    and labels [labels] themselves; ends: for each question in order (its frame, index of its last token
    before the answer). shared: so many tokens are the frame's at the begin of each sequence.
    """

    input_ids: Tensor
    positions: Tensor
    groups: Tensor
    labelled: Tensor
    labels: Tensor
    ends: tuple[tuple[int, int], ...]
    shared: int


def mask_of(groups: Tensor, start: int = 0) -> Tensor:
    """bool[frames, 1, length - start, length]: where tokens from `start` on may look.

    Back, at the frame and their own group.
    """
    same = (groups[:, start:, None] == groups[:, None, :]) | (groups[:, None, :] == 0)
    length = groups.shape[1]
    return (same & torch.ones(length, length, dtype=torch.bool, device=groups.device).tril()[start:])[:, None]


class Packer:
    """Turns questions into batches with a processor's own tokens."""

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

    def pack(self, frames: Sequence[Sequence[Room]], questions: Sequence[Sequence[Asked]]) -> Batch:
        """Pack frames that are one or several views each, with their questions."""
        packed = [self._pack_one(rooms, asked) for rooms, asked in zip(frames, questions, strict=True)]
        count = len(frames)
        length = -(-max(len(tokens) for tokens, *_ in packed) // _LENGTH_OF) * _LENGTH_OF
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
        labelled = np.argwhere(targets[:, 1:] != IGNORED)
        labels = targets[labelled[:, 0], labelled[:, 1] + 1]
        ends = tuple(
            (int(frame), int(token)) for frame, token in labelled if targets[frame, token] == IGNORED
        )
        return Batch(
            input_ids=torch.from_numpy(input_ids),
            positions=torch.from_numpy(positions),
            groups=torch.from_numpy(groups),
            labelled=torch.from_numpy(labelled),
            labels=torch.from_numpy(labels),
            ends=ends,
            shared=min(int((group == 0).sum()) for *_, group in packed),
        )

    def image_places(self, rooms: Sequence[Room]) -> NDArray[np.int64]:
        """Where the image tokens of a frame's views are in its sequence."""
        tokens, _ = self._views(tuple(rooms))
        return np.flatnonzero(tokens == self._image_token) + len(self._head)

    def _pack_one(
        self, rooms: Sequence[Room], questions: Sequence[Asked]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return tokens, targets, positions [3, length] and the group (0: the frame) of each token."""
        head = len(self._head)
        seen, places = self._views(tuple(rooms))
        tokens: list[int] = []
        targets: list[int] = []
        groups: list[int] = []
        after: list[int] = []
        last = int(places.max()) + 1 + head
        for number, question in enumerate(questions, start=1):
            asked, answer = self._question_tokens(question.prompt), self._answer_tokens(question.truth)
            tokens += asked + answer
            targets += [IGNORED] * len(asked) + answer
            size = len(asked) + len(answer)
            groups += [number] * size
            after += range(last, last + size)
        before = head + len(seen)
        return (
            np.concatenate([np.array(self._head), seen, np.array(tokens, dtype=np.int64)]),
            np.concatenate([np.full(before, IGNORED), np.array(targets, dtype=np.int64)]),
            np.concatenate(
                [np.tile(np.arange(head), (3, 1)), places + head, np.tile(np.array(after, np.int64), (3, 1))],
                axis=1,
            ),
            np.concatenate([np.zeros(before, np.int64), np.array(groups, np.int64)]),
        )

    def _views(self, rooms: tuple[Room, ...]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Tokens of the views, and their positions [3, tokens] from 0."""
        tokens, places, after = [], [], 0
        for room in rooms:
            after += room.skipped_rooms * (room.of_positions or room.positions)
            count = room.rows * room.columns
            tokens += [self._begin_token, *[self._image_token] * count, self._end_token]
            row, column = np.divmod(np.arange(count), room.columns)
            grid = np.stack([np.zeros(count, np.int64), row, column]) + 1
            ends = np.full((3, 1), room.positions - 1)
            places += [after + np.concatenate([np.zeros((3, 1), np.int64), grid, ends], axis=1)]
            after += room.positions
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
