"""Measures a model on the test places: what its card says comes from here.

A model is asked through `nodes.vlm`, one prompt after another, as a node asks it.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nodes.training.examination import Examined
from nodes.training.questions import Balance
from nodes.vlm import VisionLanguageModel

_RESAMPLES = 2000
_MAX_NEW_TOKENS = 4


@dataclass(frozen=True)
class Row:
    """One prompt of the examination and what came back."""

    frame: str
    kind: str
    prompt: str
    truth: str
    blind: str
    answer: str
    confidence: float
    total_s: float

    @property
    def right(self) -> bool:
        """Whether the answer is the truth, word for word."""
        return self.answer == self.truth

    @property
    def blind_right(self) -> bool:
        """Whether the best question-only answer is the truth."""
        return self.blind == self.truth


def examine(
    model: VisionLanguageModel,
    frames: Iterable[Examined],
    balance: Balance,
    on_frame: Callable[[], None] = lambda: None,
) -> list[Row]:
    """Ask every question of every frame."""
    rows = []
    for frame in frames:
        image = frame.image()
        for question in frame.questions:
            answer = model.answer(image, question.prompt, max_new_tokens=_MAX_NEW_TOKENS)
            blind = balance.blind_answer(question.prompt)
            rows.append(
                Row(
                    frame.name,
                    question.kind,
                    question.prompt,
                    question.truth,
                    blind,
                    answer.text,
                    round(answer.confidence, 4),
                    round(answer.timings.total_s, 4),
                )
            )
        on_frame()
    return rows


def write_rows(rows: Sequence[Row], path: Path) -> None:
    """Write rows as CSV, so that the card's numbers can be computed again without a model."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [column.name for column in fields(Row)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def read_rows(path: Path) -> list[Row]:
    """Read what `write_rows` wrote."""
    with path.open(newline="") as file:
        return [_row(line) for line in csv.DictReader(file)]


def _row(line: dict[str, str]) -> Row:
    texts: dict[str, Any] = {
        name: line[name] for name in ("frame", "kind", "prompt", "truth", "blind", "answer")
    }
    return Row(**texts, confidence=float(line["confidence"]), total_s=float(line["total_s"]))


@dataclass(frozen=True)
class Share:
    """A share or a difference of shares, with its 95 % interval (bootstrap by frame)."""

    value: float
    low: float
    high: float


def share(rows: Sequence[Row], score: Callable[[Row], float]) -> Share:
    """Mean of `score` over rows.

    Frames are drawn again, not rows: prompts about one frame are not independent.
    """
    names = sorted({row.frame for row in rows})
    place = {name: index for index, name in enumerate(names)}
    sums, counts = np.zeros(len(names)), np.zeros(len(names))
    for row in rows:
        sums[place[row.frame]] += score(row)
        counts[place[row.frame]] += 1
    picks = np.random.default_rng(0).integers(0, len(names), size=(_RESAMPLES, len(names)))
    means = sums[picks].sum(axis=1) / counts[picks].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Share(float(sums.sum() / counts.sum()), float(low), float(high))


def accuracy(rows: Sequence[Row]) -> Share:
    """Share of right answers."""
    return share(rows, lambda row: float(row.right))


def lead_over_blind(rows: Sequence[Row]) -> Share:
    """Accuracy minus the accuracy of the best question-only answers, on the same prompts."""
    return share(rows, lambda row: float(row.right) - float(row.blind_right))


def lead_over(rows: Sequence[Row], others: Sequence[Row]) -> Share:
    """Accuracy minus another model's on the same prompts. Raises ValueError when the prompts differ."""
    theirs = {(row.frame, row.prompt): row.right for row in others}
    if set(theirs) != {(row.frame, row.prompt) for row in rows}:
        raise ValueError("the two models were asked different prompts")
    return share(rows, lambda row: float(row.right) - float(theirs[row.frame, row.prompt]))


def majority(rows: Sequence[Row]) -> float:
    """Share of right answers of who knows the commonest truth of each kind in this very examination."""
    best = sum(
        max(Counter(r.truth for r in rows if r.kind == kind).values()) for kind in {r.kind for r in rows}
    )
    return best / len(rows)


def separation(rows: Sequence[Row]) -> float:
    """AUROC: the chance that a right answer has more confidence than a wrong one (ties half)."""
    right = np.array([row.confidence for row in rows if row.right])
    wrong = np.array([row.confidence for row in rows if not row.right])
    if not len(right) or not len(wrong):
        return float("nan")
    return float(_above(right, wrong).mean())


def separation_within_kinds(rows: Sequence[Row]) -> float:
    """AUROC over pairs of the same kind only: the kind alone, easy or hard, then tells nothing."""
    pairs = []
    for kind in {row.kind for row in rows}:
        here = [row for row in rows if row.kind == kind]
        right = np.array([row.confidence for row in here if row.right])
        wrong = np.array([row.confidence for row in here if not row.right])
        pairs.append(_above(right, wrong).ravel())
    every = np.concatenate(pairs)
    return float(every.mean()) if len(every) else float("nan")


def _above(right: NDArray[np.float64], wrong: NDArray[np.float64]) -> NDArray[np.float64]:
    difference = right[:, None] - wrong[None, :]
    return np.asarray((difference > 0) + 0.5 * (difference == 0), dtype=np.float64)
