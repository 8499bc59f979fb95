"""AID, NWPU-RESISC45 and others: a folder of images per class.

The prompt of each image asks for its class. AID (Xia et al., 2017) has
`AID/<Class>/<class>_<number>.jpg`, without splits. NWPU-RESISC45 (Cheng et al., 2017) has
`NWPU-RESISC45/<class>/<class>_<number>.jpg`; lists of its splits, `resisc45-<split>.txt` with a file's
name per line, are published beside it (huggingface.co/datasets/torchgeo/resisc45,
torchgeo/datasets/resisc45.py). The folder to name is that of the class folders or the one above, where
such lists may lie. Folders `<split>/<class>/` are read too.
"""

from __future__ import annotations

import re
from pathlib import Path

from nodes.data.formats.files import IMAGE_ENDINGS, images_in, lines_of_text, no_split
from nodes.data.pair import Pair
from nodes.errors import DataError

SCENE_PROMPT = "What kind of scene is this? Answer with one of: {classes}."
_TEXTS = ("", ".txt", ".md", ".pdf", ".csv")  # README, LICENSE and the like
_BESIDE_IMAGES = (*IMAGE_ENDINGS, ".db", ".ini", ".xml", ".txt")  # thumbnails and descriptions
_FEWEST_CLASSES = 2
_LIST = re.compile(r".+[-_]([A-Za-z0-9]+)\.txt")


def read(folder: Path, split: str | None) -> list[Pair]:
    """Read the pairs of a folder. Raises DataError."""
    if split and (folder / split).is_dir():
        return _pairs(folder / split)
    root = _class_folders(folder)
    lists = {match[1]: path for path in sorted(folder.glob("*.txt")) if (match := _LIST.fullmatch(path.name))}
    if split and split not in lists:
        raise no_split(folder, split, lists)
    pairs = _pairs(root)
    return _listed(pairs, lists[split]) if split else pairs


def _class_folders(folder: Path) -> Path:
    """Return the folder of class folders: the one given, or the only folder in it."""
    inside = [place for place in folder.iterdir() if place.is_dir() and not place.name.startswith(".")]
    return inside[0] if len(inside) == 1 and not images_in(inside[0]) else folder


def _pairs(folder: Path) -> list[Pair]:
    entries = [place for place in sorted(folder.iterdir()) if not place.name.startswith(".")]
    images = {place.name: images_in(place) for place in entries if place.is_dir()}
    classes = [name for name, files in images.items() if files]
    stray = [place.name for place in entries if not _of_classes(place)]
    if stray or len(classes) < _FEWEST_CLASSES:
        found = f"holds {stray[0]}" if stray else f"holds {len(classes)} of these folders"
        raise DataError(
            f"{folder} is not a data set: no prompts.jsonl, no *_questions.json, and no folders of images per"
            f" class (it {found}); `spaceverse eval --help` lists the layouts"
        )
    prompt = SCENE_PROMPT.format(classes=", ".join(spoken(name) for name in classes))
    return [
        Pair(f"{name}-{image.stem}", f"{name}/{image.name}", image, prompt, spoken(name), "scene")
        for name in classes
        for image in images[name]
    ]


def _listed(pairs: list[Pair], path: Path) -> list[Pair]:
    by_file = {pair.image.name: pair for pair in pairs}
    listed = []
    for where, line in lines_of_text(path):
        name = Path(line).name
        if name not in by_file:
            raise DataError(f"{where}: no image file {name} in any class folder")
        listed.append(by_file[name])
    return listed


def _of_classes(place: Path) -> bool:
    """Return whether an entry fits a folder of class folders, which a text may describe."""
    if place.is_dir():
        inside = [path for path in place.iterdir() if not path.name.startswith(".")]
        return all(path.is_file() and path.suffix.lower() in _BESIDE_IMAGES for path in inside)
    return place.suffix.lower() in _TEXTS


def spoken(name: str) -> str:
    """Return a class folder's name as words: DenseResidential, dense_residential -> dense residential."""
    spaced = "".join(f" {letter}" if letter.isupper() else letter for letter in name)
    return " ".join(spaced.replace("_", " ").lower().split())
