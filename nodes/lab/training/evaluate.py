"""Measures a model on a split of eo-mini: what its card says comes from here.

A model is asked through `nodes.vlm.model`, one prompt after another, as a node asks it.
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

from nodes.lab.eo_mini.gates import read_lines
from nodes.lab.evaluation.figures import Interval, auroc, auroc_within, bootstrap
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
    """One prompt of a split and what came back.

    gaze_rank: at which place the cell that holds the content comes, by attention, 0 the first of 16; None
        for a prompt whose content has no place, and for a model that was not asked for attention.
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
    gaze_rank: int | None = None

    @property
    def right(self) -> bool:
        """Whether the answer is the truth, word for word."""
        return self.answer == self.truth

    @property
    def blind_right(self) -> bool:
        """Whether the best question-only answer is the truth."""
        return self.blind == self.truth


def commonest_answers(asked: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The best answer to each prompt for who never sees a frame, from (prompt, truth) of training frames."""
    counts: dict[str, Counter[str]] = {}
    for prompt, truth in asked:
        counts.setdefault(prompt, Counter())[truth] += 1
    return {prompt: max(sorted(given), key=given.__getitem__) for prompt, given in counts.items()}


def examine(
    model: VisionLanguageModel,
    folder: Path,
    blind: Mapping[str, str],
    *,
    heads: Heads = (),
    on_prompt: Callable[[], None] = lambda: None,
) -> list[Row]:
    """Ask every prompt of a split's folder.

    Args:
        blind: the best answer per prompt of who never sees a frame.
        heads: layers and heads whose mean attention ranks the cells; none: attention is not asked for.

    Raises SplitError for a folder without prompts.
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
    """Attention of the prompt's last token, which the answer comes from: float64[layers, heads, cells]."""
    whole = (0.0, 0.0, float(_MAP_PX), float(_MAP_PX))
    with model.begin([image], prompt, boxes=[whole]) as session:
        looked, grids = session.attention()[:, :, -1], session.grids
    return np.array(
        [
            [scores_from_map(frame_map(head, grids, _MAP_PX, _MAP_PX), _CELLS, _CELLS) for head in layer]
            for layer in looked
        ]
    )


def rank_of(scores: NDArray[np.float64], cell: int) -> int:
    """How many cells have a higher score."""
    return int((scores > scores[cell]).sum())


def choose_heads(model: VisionLanguageModel, folder: Path, most: int = 4) -> list[tuple[int, int]]:
    """The layers and heads that rank the true cell best on a split: the best ones, as many as help together.

    To be used on validation frames, never on those that are tested on.
    """
    placed = [line for line in read_lines(folder) if "cell" in line]
    seen = np.stack(
        [cell_attention(model, open_image(folder / line["image"]), line["prompt"]) for line in placed]
    )
    cells = [int(line["cell"]) for line in placed]

    def mean_rank(chosen: Sequence[tuple[int, int]]) -> float:
        scores = np.mean([seen[:, layer, head] for layer, head in chosen], axis=0)
        return float(np.mean([rank_of(row, cell) for row, cell in zip(scores, cells, strict=True)]))

    every = [(layer, head) for layer in range(seen.shape[1]) for head in range(seen.shape[2])]
    ordered = sorted(every, key=lambda one: (mean_rank([one]), one))
    return min((ordered[:count] for count in range(1, most + 1)), key=mean_rank)


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
        name: line[name] for name in ("frame", "kind", "family", "prompt", "truth", "blind", "answer")
    }
    rank = int(line["gaze_rank"]) if line["gaze_rank"] else None
    return Row(**texts, confidence=float(line["confidence"]), total_s=float(line["total_s"]), gaze_rank=rank)


def share(rows: Sequence[Row], score: Callable[[Row], float]) -> Interval:
    """Mean of `score` over rows, with its interval by frame: prompts about one frame are not independent."""
    scores = np.array([score(row) for row in rows])
    frames = [row.frame for row in rows]
    return bootstrap(frames, lambda picked: float(scores[picked].mean()), resamples=_RESAMPLES)


def accuracy(rows: Sequence[Row]) -> Interval:
    """Share of right answers."""
    return share(rows, lambda row: float(row.right))


def lead_over_blind(rows: Sequence[Row]) -> Interval:
    """Accuracy minus the accuracy of the best question-only answers, on the same prompts."""
    return share(rows, lambda row: float(row.right) - float(row.blind_right))


def lead_over(rows: Sequence[Row], others: Sequence[Row]) -> Interval:
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
    return auroc(*_confidence_and_right(rows))


def separation_within_kinds(rows: Sequence[Row]) -> float:
    """AUROC over pairs of the same kind only: the kind alone, easy or hard, then tells nothing."""
    return auroc_within(*_confidence_and_right(rows), [row.kind for row in rows])


def _confidence_and_right(rows: Sequence[Row]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    return np.array([row.confidence for row in rows]), np.array([row.right for row in rows])
