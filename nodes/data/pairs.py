"""Frame-prompt pairs of a data set, in any of the layouts that `nodes/data/formats` reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from nodes.contract.evaluation import split_source
from nodes.data.formats import classes, hf_datasets, lrs_vqa, prompts, rsvqa, vqa
from nodes.data.formats.files import json_of, lines_of
from nodes.data.frames import KEPT, in_place
from nodes.data.pair import Footprint, Pair
from nodes.errors import DataError

__all__ = ["Footprint", "Pair", "listed_pairs", "read_pairs"]

SYNONYMS = "synonyms.json"
_Read = Callable[[Path, "str | None"], list[Pair]]
_READERS: dict[str, _Read] = {
    "prompts": prompts.read,
    "rsvqa-lr": rsvqa.read_low,
    "rsvqa-hr": rsvqa.read_high,
    "aid": classes.read,
    "resisc45": classes.read,
    "lrs-vqa": lrs_vqa.read,
    "vqa": vqa.read,
    "hf-datasets": hf_datasets.read,
}


def read_pairs(source: str | Path, split: str | None = None, kept: Path = KEPT) -> list[Pair]:
    """Read the pairs of a data set, with their image files in place.

    Args:
        source: The folder, perhaps after the name of its layout: `rsvqa-lr:FOLDER`.
        split: Name of a split, for a data set with splits.
        kept: Folder for images that are cut from scenes or stored in other files.

    Returns:
        At least one pair.

    Raises:
        DataError: The data set cannot be read or has no pairs.
    """
    return in_place(listed_pairs(source, split), kept)


def listed_pairs(source: str | Path, split: str | None = None) -> list[Pair]:
    """Read pairs like `read_pairs`; image files with an `origin` are not made yet (frames.py)."""
    try:
        layout, folder = split_source(source)
    except ValueError as error:
        raise DataError(str(error)) from None
    try:
        if not folder.is_dir():
            raise DataError(f"no folder of images at {folder}: check the path")
        pairs = (_READERS[layout] if layout else _reader_for(folder))(folder, split)
        if (folder / SYNONYMS).is_file():
            pairs = _with_synonyms(pairs, folder / SYNONYMS)
    except OSError as error:
        raise DataError(f"{error.filename or folder} cannot be read: {error.strerror}") from error
    if not pairs:
        where = f" of split {split}" if split else ""
        raise DataError(f"{folder} contains no pairs{where}: `spaceverse eval --help` lists the layouts")
    return pairs


def _reader_for(folder: Path) -> _Read:
    """Return the reader of a folder's layout."""
    lines = sorted(folder.glob("*.jsonl"))
    if len(lines) == 1 and lines[0].name != prompts.FILE:
        _, row = next(lines_of(lines[0]), ("", {}))
        if row.keys() >= lrs_vqa.KEYS:
            return lrs_vqa.read
    if lines:
        return prompts.read
    if any(folder.glob(f"*{rsvqa.QUESTIONS}")) and any(folder.glob("*_answers.json")):
        return rsvqa.read
    if all(vqa.files_of(folder)):
        return vqa.read
    if (folder / hf_datasets.SPLITS).is_file() or (folder / hf_datasets.STATE).is_file():
        return hf_datasets.read
    if any(folder.glob(f"*{rsvqa.QUESTIONS}")):
        return rsvqa.read
    return classes.read


def _with_synonyms(pairs: Sequence[Pair], path: Path) -> list[Pair]:
    """Add the further right answers that a data set gives for its truths."""
    synonyms = json_of(path)
    if not all(isinstance(one, list) for one in synonyms.values()):
        raise DataError(f"{path}: it must map each truth to a list of further right answers")
    return [
        replace(pair, also_right=(*pair.also_right, *(str(one) for one in synonyms.get(pair.truth, ()))))
        for pair in pairs
    ]
