"""Frame-prompt pairs of a data set.

The layout of the folder determines the reader:

* `prompts.jsonl`: one line per pair with frame, image, prompt and truth, and optionally kind,
  also_right (further right answers), box, place, and latitude_deg, longitude_deg and span_deg of the
  frame. Further splits are in `<split>.jsonl`, or named by a key `split` in each line.
* RSVQA (LR, HR): `*_questions.json`, `*_answers.json` and `*_images.json` per split, and a folder of
  images (zenodo.org/record/6344334 and 6344367).
* AID, RESISC45: a folder of images per class; the prompt of each image asks for its class.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nodes.contract.answers import is_right
from nodes.errors import DataError

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp")
_TEXTS = ("", ".txt", ".md", ".pdf", ".csv")  # README, LICENSE and the like
_BESIDE_IMAGES = (*IMAGE_ENDINGS, ".db", ".ini", ".xml", ".txt")  # thumbnails and descriptions
_FEWEST_CLASSES = 2
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.-]")  # a pair's name is a file's name too
_SPAN_DEG = 16.0  # of the frames of eo-mini
SCENE_PROMPT = "What kind of scene is this? Answer with one of: {classes}."


@dataclass(frozen=True)
class Footprint:
    """The ground that a frame shows: its centre, and its height and width in degrees."""

    latitude_deg: float
    longitude_deg: float
    span_deg: float


@dataclass(frozen=True)
class Pair:
    """One image and one question about it.

    Attributes:
        name: Unique name of the pair.
        frame: Name of the frame; pairs of one frame are not independent of each other.
        image: The image file.
        prompt: The question.
        truth: The right answer.
        kind: Family of prompts.
        box: Position of the question's subject, if known: left, upper, right, lower as shares of the frame.
        place: Name of the place that the frame shows; frames of one place are not independent of each other.
        footprint: The ground that it shows, if known; frames that overlap count as one place.
        also_right: Further right answers, such as synonyms (nodes/contract/answers/matching.py).
    """

    name: str
    frame: str
    image: Path
    prompt: str
    truth: str
    kind: str = ""
    box: tuple[float, float, float, float] | None = None
    place: str = ""
    footprint: Footprint | None = None
    also_right: tuple[str, ...] = ()

    def is_right(self, answer: str) -> bool:
        """Return whether an answer is right."""
        return is_right(answer, self.truth, self.also_right)


def read_pairs(folder: Path, split: str | None = None) -> list[Pair]:
    """Read the pairs of a folder.

    Args:
        folder: The data set.
        split: Name of a split, for a data set with splits.

    Returns:
        At least one pair.

    Raises:
        DataError: The data set cannot be read or has no pairs.
    """
    try:
        if not folder.is_dir():
            raise DataError(f"no folder of images at {folder}: check the path")
        if any(folder.glob("*.jsonl")):
            pairs = _jsonl(folder, split)
        elif any(folder.glob("*_questions.json")):
            pairs = _rsvqa(folder, split)
        else:
            pairs = _classes(folder, split)
    except OSError as error:
        raise DataError(f"{error.filename or folder} cannot be read: {error.strerror}") from error
    if not pairs:
        where = f" of split {split}" if split else ""
        raise DataError(f"{folder} contains no pairs{where}: `spaceverse eval --help` lists the layouts")
    return pairs


def _jsonl(folder: Path, split: str | None) -> list[Pair]:
    path = folder / f"{split}.jsonl" if split else folder / "prompts.jsonl"
    own_file = path.is_file()
    if not own_file:
        path = folder / "prompts.jsonl"
    pairs: list[Pair] = []
    splits: set[str] = set()
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            splits |= {str(row["split"])} if "split" in row else set()
            if split and row.get("split", split if own_file else None) != split:
                continue
            pair = _pair_of(folder, row, len(pairs))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise DataError(f"{path}, line {number}: {type(error).__name__}: {error}") from error
        if not pair.image.is_file():
            raise DataError(f"{path}, line {number}: no image file {pair.image}")
        pairs.append(pair)
    if split and not pairs:
        splits |= {file.stem for file in folder.glob("*.jsonl") if file.name != "prompts.jsonl"}
        known = (
            f"its splits are {', '.join(sorted(splits))}" if splits else "it has no splits; omit the option"
        )
        raise DataError(f"{folder} contains no pairs of split {split}: {known}")
    return pairs


def _pair_of(folder: Path, row: dict[str, Any], number: int) -> Pair:
    box = row.get("box")
    return Pair(
        name=f"p{number:05d}-{_NOT_IN_NAMES.sub('_', str(row['frame']))[:80]}",
        frame=str(row["frame"]),
        image=folder / row["image"],
        prompt=str(row["prompt"]),
        truth=str(row["truth"]),
        kind=str(row.get("kind", "")),
        box=None if box is None else _box(box),
        place=str(row.get("place", "")),
        footprint=_footprint(row),
        also_right=_texts(row.get("also_right", [])),
    )


def _footprint(row: dict[str, Any]) -> Footprint | None:
    if "latitude_deg" not in row or "longitude_deg" not in row:
        return None
    span_deg = float(row.get("span_deg", _SPAN_DEG))
    if span_deg <= 0:
        raise ValueError(f"span_deg is {span_deg}: it must be above 0")
    return Footprint(float(row["latitude_deg"]), float(row["longitude_deg"]), span_deg)


def _texts(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list):
        raise ValueError(f"also_right is {values!r}: it must be a list of texts")
    return tuple(str(value) for value in values)


def _box(values: Any) -> tuple[float, float, float, float]:
    left, upper, right_edge, lower = (float(value) for value in values)
    if not (0 <= left < right_edge <= 1 and 0 <= upper < lower <= 1):
        raise ValueError(f"box {values} must be left, upper, right, lower as shares of the frame")
    return left, upper, right_edge, lower


def _rsvqa(folder: Path, split: str | None) -> list[Pair]:
    paths = sorted(folder.glob("*_questions.json"))
    if split:
        names = {path: path.name.removesuffix("_questions.json") for path in paths}
        paths = [path for path, name in names.items() if f"_{name}".endswith(f"_{split}")]
        if not paths:
            known = ", ".join(sorted(name.rsplit("_", 1)[-1] for name in names.values()))
            raise DataError(f"{folder} contains no pairs of split {split}: its splits are {known}")
    pairs = []
    for path in paths:
        answers = {
            row["id"]: row for row in _rows(Path(str(path).replace("_questions", "_answers")), "answers")
        }
        for row in _rows(path, "questions"):
            if not row.get("active", True):
                continue
            pairs.append(_rsvqa_pair(folder, path, row, answers))
    return pairs


def _rsvqa_pair(folder: Path, path: Path, row: dict[str, Any], answers: dict[int, dict[str, Any]]) -> Pair:
    try:
        truth = answers[row["answers_ids"][0]]["answer"]
        number, prompt, kind = row["img_id"], row["question"], row.get("type", "")
    except (KeyError, IndexError) as error:
        raise DataError(f"{path}: question {row.get('id')}: {type(error).__name__} {error}") from error
    return Pair(
        name=f"q{row['id']}",
        frame=str(number),
        image=_image(folder, str(number)),
        prompt=str(prompt),
        truth=str(truth),
        kind=str(kind),
    )


def _image(folder: Path, stem: str) -> Path:
    for place in (folder, folder / "images", folder / "Images_LR", folder / "Data"):
        for ending in IMAGE_ENDINGS:
            if (place / f"{stem}{ending}").is_file():
                return place / f"{stem}{ending}"
    raise DataError(f"{folder}: no image {stem} with suffix {', '.join(IMAGE_ENDINGS)}")


def _classes(folder: Path, split: str | None) -> list[Pair]:
    if split:
        raise DataError(
            f"{folder}: a folder per class has no splits, and so no split {split}; omit the option"
        )
    entries = [place for place in sorted(folder.iterdir()) if not place.name.startswith(".")]
    classes = [place.name for place in entries if place.is_dir() and any(_images(place))]
    stray = [place.name for place in entries if not _of_classes(place)]
    if stray or len(classes) < _FEWEST_CLASSES:
        found = f"holds {stray[0]}" if stray else f"holds {len(classes)} of these folders"
        raise DataError(
            f"{folder} is not a data set: no prompts.jsonl, no *_questions.json, and no folders of images per"
            f" class (it {found}); `spaceverse eval --help` lists the layouts"
        )
    prompt = SCENE_PROMPT.format(classes=", ".join(_spoken(name) for name in classes))
    return [
        Pair(f"{name}-{image.stem}", f"{name}/{image.name}", image, prompt, _spoken(name), "scene")
        for name in classes
        for image in _images(folder / name)
    ]


def _of_classes(place: Path) -> bool:
    """Return whether an entry fits a folder of class folders, which a text may describe."""
    if place.is_dir():
        inside = [path for path in place.iterdir() if not path.name.startswith(".")]
        return all(path.is_file() and path.suffix.lower() in _BESIDE_IMAGES for path in inside)
    return place.suffix.lower() in _TEXTS


def _images(folder: Path) -> Iterator[Path]:
    return iter(sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_ENDINGS))


def _spoken(name: str) -> str:
    """Return a class folder's name as words: DenseResidential, dense_residential -> dense residential."""
    spaced = "".join(f" {letter}" if letter.isupper() else letter for letter in name)
    return " ".join(spaced.replace("_", " ").lower().split())


def _rows(path: Path, key: str) -> list[dict[str, Any]]:
    try:
        rows = json.loads(_text(path))[key]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{path}: cannot read the list {key!r}: {type(error).__name__}") from error
    if not isinstance(rows, list):
        raise DataError(f"{path}: {key!r} is not a list")
    return rows


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
