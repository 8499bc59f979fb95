"""RSVQA-LR and RSVQA-HR (Lobry et al., 2020; doi:10.5281/zenodo.6344334 and 6344367).

Per split there are `<set>_split_<split>_questions.json`, `..._answers.json` and `..._images.json`, each
with one list of that name, as github.com/syvlo/RSVQA specifies them (AutomaticDB/DataSpecification.md,
VQA_model/VQALoader.py): rows of other splits are placeholders with `"active": false`; a question has
`img_id`, `type` and `answers_ids`; image 7 is `7.tif`, in `Images_LR` or `Data`. The low-resolution set
has the splits train, val and test, the other one (USGS) test_phili as well.

Areas, and in the low-resolution set counts, are judged by range, as in the published evaluation
(VQA_model/VocabEncoder.py): 0, 1 to 10, 11 to 100, 101 to 1000, more than 1000.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from nodes.data.formats.files import IMAGE_ENDINGS, MALFORMED, images_in, malformed, no_split, rows_of
from nodes.data.pair import Pair
from nodes.errors import DataError

QUESTIONS = "_questions.json"
_WHOLE_SET = "all"
_IMAGE_FOLDERS = ("", "images", "Images", "Images_LR", "Data")
_RANGES = ((1, 10), (11, 100), (101, 1000))
_QUANTITY = re.compile(r"(\d+)(m2)?")


def read_low(folder: Path, split: str | None) -> list[Pair]:
    """Read RSVQA-LR. Raises DataError."""
    return read(folder, split, counts_by_range=True)


def read_high(folder: Path, split: str | None) -> list[Pair]:
    """Read RSVQA-HR. Raises DataError."""
    return read(folder, split, counts_by_range=False)


def read(folder: Path, split: str | None, counts_by_range: bool | None = None) -> list[Pair]:
    """Read the pairs of a split, or of all splits.

    Args:
        folder: The folder of the JSON files.
        split: Name of the split.
        counts_by_range: Judge counts by range; None if the files' names tell: `LR_...` are low-resolution.

    Raises:
        DataError: A file is missing or malformed, or there is no such split.
    """
    paths = {_split_of(path): path for path in sorted(folder.glob(f"*{QUESTIONS}"))}
    if not paths:
        raise DataError(f"{folder} contains no *{QUESTIONS}: name the folder of RSVQA's JSON files")
    if counts_by_range is None:
        counts_by_range = any(path.name.startswith("LR") for path in paths.values())
    if split:
        if split not in paths:
            raise no_split(folder, split, paths)
        paths = {split: paths[split]}
    elif _WHOLE_SET in paths:
        paths = {_WHOLE_SET: paths[_WHOLE_SET]}
    images = _Images(folder)
    return [
        pair for path in paths.values() for pair in _pairs_of(path, images, counts_by_range=counts_by_range)
    ]


def _split_of(path: Path) -> str:
    """Return the split of a file of questions: USGS_split_test_phili_questions.json -> test_phili."""
    return path.name.removesuffix(QUESTIONS).rsplit("split_", 1)[-1]


def _pairs_of(path: Path, images: _Images, *, counts_by_range: bool) -> list[Pair]:
    beside = {
        key: path.with_name(path.name.replace(QUESTIONS, f"_{key}.json")) for key in ("answers", "images")
    }
    answers = {row.get("id"): row for row in rows_of(beside["answers"], "answers")}
    withdrawn = set()
    if beside["images"].is_file():
        withdrawn = {
            row.get("id") for row in rows_of(beside["images"], "images") if not row.get("active", True)
        }
    pairs = []
    for row in rows_of(path, "questions"):
        if not row.get("active", True) or row.get("img_id") in withdrawn:
            continue
        where = f"{path}, question {row.get('id')}"
        try:
            answer = answers[row["answers_ids"][0]]["answer"]
            pairs.append(_pair_of(row, str(answer), images.of(row["img_id"], where), counts_by_range))
        except MALFORMED as error:
            if isinstance(error, DataError):
                raise
            raise malformed(where, error) from error
    return pairs


def _pair_of(row: dict[str, Any], answer: str, image: Path, counts_by_range: bool) -> Pair:
    kind = str(row.get("type", ""))
    return Pair(
        name=f"q{row['id']}",
        frame=str(row["img_id"]),
        image=image,
        prompt=str(row["question"]),
        truth=truth_of(answer, counts_by_range=counts_by_range),
        kind=kind,
    )


def truth_of(answer: str, *, counts_by_range: bool) -> str:
    """Return the truth of a published answer: the range of an area, or of a count; others as they are."""
    match = _QUANTITY.fullmatch(answer)
    if match is None or not (match[2] or counts_by_range):
        return answer
    number, unit = int(match[1]), " m2" if match[2] else ""
    if number == 0:
        return f"0{unit}"
    for low, high in _RANGES:
        if number <= high:
            return f"between {low}{unit} and {high}{unit}"
    return f"more than {_RANGES[-1][1]}{unit}"


class _Images:
    """Image files of a data set by their numbers."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._by_stem: dict[str, Path] = {}
        for name in _IMAGE_FOLDERS:
            if (folder / name).is_dir():
                for path in images_in(folder / name):
                    self._by_stem.setdefault(path.stem, path)

    def of(self, number: Any, where: str) -> Path:
        """Return the file of an image. Raises DataError."""
        try:
            return self._by_stem[str(number)]
        except KeyError:
            places = ", ".join(str(self._folder / name) for name in _IMAGE_FOLDERS)
            raise DataError(
                f"{where}: no image {number} ({', '.join(IMAGE_ENDINGS)}) in any of {places}"
            ) from None
