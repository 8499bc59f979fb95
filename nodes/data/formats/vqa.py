"""COCO-style VQA: two JSON files, questions and annotations (visualqa.org/download.html).

`*questions*.json` has a list `questions` of question_id, image_id and question; `*annotations*.json` a
list `annotations` of question_id, multiple_choice_answer, answers and answer_type. A split is a part of
both names, such as val2014. An image is found by a list `images` of id and file_name, if either file
has one, else by the number at the end of its name: image 42 is `COCO_val2014_000000000042.jpg` or
`42.png`, in the folder or below it.

Further right answers are those that at least three annotators gave, for which VQA's own accuracy is 1
(visualqa.org/evaluation.html).
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

from nodes.data.formats.files import IMAGE_ENDINGS, MALFORMED, json_of, malformed, no_split, rows_of
from nodes.data.pair import Pair
from nodes.errors import DataError

_AGREEING = 3
_NUMBER_AT_END = re.compile(r"(\d+)$")
_PART = re.compile(r"[A-Za-z]+\d{4}|train|val|test|validation")


def files_of(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return a folder's files of questions and of annotations."""
    return sorted(folder.glob("*questions*.json")), sorted(folder.glob("*annotations*.json"))


def read(folder: Path, split: str | None) -> list[Pair]:
    """Read the pairs of a folder. Raises DataError."""
    questions, annotations = (_of_split(paths, split) for paths in files_of(folder))
    if split and not (questions and annotations):
        raise no_split(
            folder, split, {part for path in files_of(folder)[0] for part in _PART.findall(path.stem)}
        )
    if len(questions) != 1 or len(annotations) != 1:
        raise DataError(
            f"{folder} contains {len(questions)} files *questions*.json and {len(annotations)} files "
            "*annotations*.json: one of each is needed; a split, a part of both names, chooses among several"
        )
    answers = {row.get("question_id"): row for row in rows_of(annotations[0], "annotations")}
    images = _Images(folder, [*questions, *annotations])
    pairs = []
    for row in rows_of(questions[0], "questions"):
        where = f"{questions[0]}, question {row.get('question_id')}"
        if row.get("question_id") not in answers:
            raise DataError(f"{where}: {annotations[0].name} has no answer to it")
        try:
            pairs.append(_pair_of(row, answers[row["question_id"]], images, where))
        except MALFORMED as error:
            if isinstance(error, DataError):
                raise
            raise malformed(where, error) from error
    return pairs


def _of_split(paths: list[Path], split: str | None) -> list[Path]:
    return [path for path in paths if split is None or split in path.stem]


def _pair_of(row: dict[str, Any], annotation: dict[str, Any], images: _Images, where: str) -> Pair:
    given = Counter(str(one["answer"]) for one in annotation.get("answers", []))
    truth = str(annotation["multiple_choice_answer"])
    return Pair(
        name=f"q{row['question_id']}",
        frame=str(row["image_id"]),
        image=images.of(row["image_id"], where),
        prompt=str(row["question"]),
        truth=truth,
        kind=str(annotation.get("answer_type", "")),
        also_right=tuple(text for text, count in given.items() if count >= _AGREEING and text != truth),
    )


class _Images:
    """Image files of a data set by their numbers."""

    def __init__(self, folder: Path, described_in: list[Path]) -> None:
        self._folder = folder
        self._names = {
            row["id"]: str(row["file_name"])
            for path in described_in
            if "images" in json_of(path)
            for row in rows_of(path, "images")
            if "id" in row and "file_name" in row
        }
        self._by_number: dict[int, list[Path]] = {}
        self._by_name: dict[str, Path] = {}
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() in IMAGE_ENDINGS:
                self._by_name.setdefault(path.name, path)
                if match := _NUMBER_AT_END.search(path.stem):
                    self._by_number.setdefault(int(match[1]), []).append(path)

    def of(self, number: Any, where: str) -> Path:
        """Return the file of an image. Raises DataError."""
        if (name := self._names.get(number)) is not None:
            path = self._folder / name
            found = (
                [path] if path.is_file() else [self._by_name[path.name]] if path.name in self._by_name else []
            )
        else:
            found = self._by_number.get(int(number), [])
        if len(found) == 1:
            return found[0]
        if found:
            raise DataError(f"{where}: image {number} may be {found[0]} or {found[1]}: remove one of them")
        raise DataError(f"{where}: no image {name or number} below {self._folder}")
