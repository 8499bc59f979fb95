"""LRS-VQA (Luo et al., 2025, arXiv 2503.07588; huggingface.co/datasets/ll-13/LRS-VQA).

`LRS_VQA/LRS_VQA_merged.jsonl` has a line per question with question_id, image, category, text (the
question) and ground_truth, as github.com/VisionXLab/LRS-VQA reads them (LRS-VQA-Code/eval_lrs_vqa.sh,
Script/evaluation_LRSVQA.py). Images are named from the folder above: `LRS_VQA/image/15565.tif`. Its
evaluation also accepts synonyms of WordNet; here a synonym counts only if a key `also_right` gives it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nodes.data.formats.files import MALFORMED, file_name, lines_of, malformed, no_split
from nodes.data.pair import Pair
from nodes.errors import DataError

KEYS = frozenset({"image", "text", "ground_truth"})


def read(folder: Path, split: str | None) -> list[Pair]:
    """Read the pairs of the folder's only file of JSON lines. Raises DataError."""
    paths = sorted(folder.glob("*.jsonl"))
    if len(paths) != 1:
        raise DataError(
            f"{folder} contains {len(paths)} files *.jsonl: LRS-VQA has one, LRS_VQA_merged.jsonl"
        )
    if split:
        raise no_split(folder, split, ())
    pairs: list[Pair] = []
    for where, row in lines_of(paths[0]):
        try:
            pairs.append(_pair_of(folder, row, len(pairs)))
        except MALFORMED as error:
            raise malformed(where, error) from error
        if not pairs[-1].image.is_file():
            question = row.get("question_id", len(pairs))
            raise DataError(f"{where}, question {question}: no image file {pairs[-1].image}")
    return pairs


def _pair_of(folder: Path, row: dict[str, Any], number: int) -> Pair:
    image = str(row["image"])
    name = file_name(str(row.get("question_id", "")))
    return Pair(
        name=f"p{number:05d}-{name}",
        frame=Path(image).name,
        image=_image(folder, image),
        prompt=str(row["text"]),
        truth=str(row["ground_truth"]),
        kind=str(row.get("category", "")),
        also_right=tuple(str(text) for text in row.get("also_right", [])),
    )


def _image(folder: Path, name: str) -> Path:
    """Return an image's file: as named from the folder above, from the folder, or in its folder `image`."""
    places = [folder.absolute().parent / name, folder / name, folder / "image" / Path(name).name]
    return next((path for path in places if path.is_file()), places[0])
