"""Evaluation of a model on a split of eo-mini; the model card is computed from its rows.

The model answers one prompt after another through `nodes.vlm.model`, as on a node.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nodes.contract.files import replacing
from nodes.lab.eo_mini.gates import read_lines
from nodes.lab.evaluation.figures import Interval, auroc, auroc_within, bootstrap
from nodes.lab.evaluation.figures import share as share_of_groups
from nodes.regions import scores_from_map
from nodes.vlm.image import open_image
from nodes.vlm.model import VisionLanguageModel
from nodes.vlm.token_grid import frame_map

_RESAMPLES = 2000
_MAX_NEW_TOKENS = 4
_CELLS = 4  # a side
_MAP_PX = 128
TOP = 4

Heads = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Row:
    """One prompt of a split, and the model's answer.

    Attributes:
        blind: The question-only baseline's answer.
        attention_rank: Rank of the cell that holds the content among all 16 by attention, 0 for the first.
            None for a prompt whose content has no place, and where attention was not computed.
    """

    frame: str
    kind: str
    family: str
    prompt: str
    truth: str
    blind: str
    answer: str
    confidence: float
    total_s: float
    attention_rank: int | None = None

    @property
    def right(self) -> bool:
        """Whether the answer equals the truth."""
        return self.answer == self.truth

    @property
    def blind_right(self) -> bool:
        """Whether the question-only baseline's answer equals the truth."""
        return self.blind == self.truth


def question_only_answers(questions: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the question-only baseline: the most common answer to each prompt.

    Args:
        questions: Prompt and truth of each question about the training frames.
    """
    counts: dict[str, Counter[str]] = {}
    for prompt, truth in questions:
        counts.setdefault(prompt, Counter())[truth] += 1
    return {prompt: max(sorted(of_prompt), key=of_prompt.__getitem__) for prompt, of_prompt in counts.items()}


def examine(
    model: VisionLanguageModel,
    folder: Path,
    blind: Mapping[str, str],
    *,
    heads: Heads = (),
    on_prompt: Callable[[], None] = lambda: None,
) -> list[Row]:
    """Run a model on every prompt of a split's folder.

    Args:
        model: The model.
        folder: The split.
        blind: The question-only baseline's answer to each prompt.
        heads: Layers and heads whose mean attention ranks the cells; without any, attention is not computed.
        on_prompt: Called after each prompt.

    Raises:
        SplitError: The folder has no prompts.
    """
    rows = []
    for line in read_lines(folder):
        image = open_image(folder / line["image"])
        answer = model.answer(image, line["prompt"], max_new_tokens=_MAX_NEW_TOKENS)
        rank = None
        if heads and "cell" in line:
            attention = cell_attention(model, image, line["prompt"])
            rank = rank_of(np.mean([attention[head] for head in heads], axis=0), line["cell"])
        rows.append(
            Row(
                line["frame"],
                line["kind"],
                line["family"],
                line["prompt"],
                line["truth"],
                blind.get(line["prompt"], ""),
                answer.text,
                round(answer.confidence, 4),
                round(answer.timings.total_s, 4),
                rank,
            )
        )
        on_prompt()
    return rows


def cell_attention(model: VisionLanguageModel, image: Any, prompt: str) -> NDArray[np.float64]:
    """Return the attention from the prompt's last token to each cell: float64[layers, heads, cells]."""
    whole = (0.0, 0.0, float(_MAP_PX), float(_MAP_PX))
    with model.begin([image], prompt, boxes=[whole]) as session:
        attention, grids = session.attention()[:, :, -1], session.grids
    return np.array(
        [
            [scores_from_map(frame_map(head, grids, _MAP_PX, _MAP_PX), _CELLS, _CELLS) for head in layer]
            for layer in attention
        ]
    )


def rank_of(scores: NDArray[np.float64], cell: int) -> int:
    """Return the number of cells with a higher score."""
    return int((scores > scores[cell]).sum())


def select_heads(model: VisionLanguageModel, folder: Path, most: int = 4) -> list[tuple[int, int]]:
    """Return the layers and heads, at most `most`, whose mean attention ranks the true cell best on a split.

    Use it on validation frames only, never on test frames.
    """
    placed = [line for line in read_lines(folder) if "cell" in line]
    attention = np.stack(
        [cell_attention(model, open_image(folder / line["image"]), line["prompt"]) for line in placed]
    )
    cells = [int(line["cell"]) for line in placed]

    def mean_rank(selected: Sequence[tuple[int, int]]) -> float:
        scores = np.mean([attention[:, layer, head] for layer, head in selected], axis=0)
        return float(np.mean([rank_of(row, cell) for row, cell in zip(scores, cells, strict=True)]))

    every = [(layer, head) for layer in range(attention.shape[1]) for head in range(attention.shape[2])]
    ordered = sorted(every, key=lambda head: (mean_rank([head]), head))
    return min((ordered[:count] for count in range(1, most + 1)), key=mean_rank)


def write_rows(rows: Sequence[Row], path: Path) -> None:
    """Write rows as CSV; the card can be computed from them without a model."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [column.name for column in fields(Row)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def read_rows(path: Path) -> list[Row]:
    """Read rows that `write_rows` wrote."""
    with path.open(newline="") as file:
        return [_row(line) for line in csv.DictReader(file)]


def _row(line: dict[str, str]) -> Row:
    texts: dict[str, Any] = {
        name: line[name] for name in ("frame", "kind", "family", "prompt", "truth", "blind", "answer")
    }
    stored_rank = line.get("attention_rank", line.get("gaze_rank"))  # the column's former name
    rank = int(stored_rank) if stored_rank else None
    return Row(
        **texts, confidence=float(line["confidence"]), total_s=float(line["total_s"]), attention_rank=rank
    )


def share(rows: Sequence[Row], hit: Callable[[Row], bool]) -> Interval:
    """Return the share of hits with its interval by frame, whose prompts are not independent."""
    return share_of_groups([row.frame for row in rows], [hit(row) for row in rows])


def _lead(rows: Sequence[Row], score: Callable[[Row], float]) -> Interval:
    """Return the mean of a difference from -1 to 1, with its interval by frame."""
    scores = np.array([score(row) for row in rows])
    frames = [row.frame for row in rows]
    return bootstrap(frames, lambda picked: float(scores[picked].mean()), least=-1.0, resamples=_RESAMPLES)


def accuracy(rows: Sequence[Row]) -> Interval:
    """Return the share of correct answers."""
    return share(rows, lambda row: row.right)


def lead_over_blind(rows: Sequence[Row]) -> Interval:
    """Return accuracy minus that of the question-only baseline on the same prompts."""
    return _lead(rows, lambda row: float(row.right) - float(row.blind_right))


def lead_over(rows: Sequence[Row], others: Sequence[Row]) -> Interval:
    """Return accuracy minus another model's on the same prompts.

    Raises:
        ValueError: The prompts differ.
    """
    theirs = {(row.frame, row.prompt): row.right for row in others}
    if set(theirs) != {(row.frame, row.prompt) for row in rows}:
        raise ValueError("the two models answered different prompts")
    return _lead(rows, lambda row: float(row.right) - float(theirs[row.frame, row.prompt]))


def majority(rows: Sequence[Row]) -> float:
    """Return the accuracy of the majority baseline: the most common truth of each kind in these rows."""
    best = sum(
        max(Counter(r.truth for r in rows if r.kind == kind).values()) for kind in {r.kind for r in rows}
    )
    return best / len(rows)


def separation(rows: Sequence[Row]) -> float:
    """Return the AUROC of confidence for correct against wrong answers."""
    return auroc(*_confidence_and_right(rows))


def separation_within_kinds(rows: Sequence[Row]) -> float:
    """Return the AUROC over pairs of prompts of one kind, which excludes the difficulty of kinds."""
    return auroc_within(*_confidence_and_right(rows), [row.kind for row in rows])


def _confidence_and_right(rows: Sequence[Row]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    return np.array([row.confidence for row in rows]), np.array([row.right for row in rows])
