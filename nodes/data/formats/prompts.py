"""This project's own layout: `prompts.jsonl`, a line of JSON per question, and image files.

Keys of a line: frame, image, prompt and truth, and optionally kind, also_right (a list of further right
answers), box, place, and latitude_deg, longitude_deg and span_deg of the frame. Further splits are in
`<split>.jsonl`, or named by a key `split` in each line. A frame may be a window of a GeoTIFF: see
`nodes/data/scenes.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nodes.data.formats.files import MALFORMED, file_name, lines_of, malformed, no_split
from nodes.data.pair import Footprint, Pair
from nodes.data.scenes import window_in
from nodes.errors import DataError

FILE = "prompts.jsonl"
_SPAN_DEG = 16.0  # of the frames of eo-mini


def read(folder: Path, split: str | None) -> list[Pair]:
    """Read the pairs of a folder. Raises DataError."""
    path = folder / f"{split}.jsonl" if split else folder / FILE
    own_file = path.is_file()
    if not own_file:
        path = folder / FILE
    pairs: list[Pair] = []
    splits: set[str] = set()
    for where, row in lines_of(path):
        try:
            splits |= {str(row["split"])} if "split" in row else set()
            if split and row.get("split", split if own_file else None) != split:
                continue
            pair = _pair_of(folder, row, len(pairs))
        except MALFORMED as error:
            raise malformed(where, error) from error
        if not pair.image.is_file():
            raise DataError(f"{where}: no image file {pair.image}")
        pairs.append(pair)
    if split and not pairs:
        raise no_split(folder, split, splits | {file.stem for file in folder.glob("*.jsonl")} - {path.stem})
    return pairs


def _pair_of(folder: Path, row: dict[str, Any], number: int) -> Pair:
    box = row.get("box")
    return Pair(
        name=f"p{number:05d}-{file_name(str(row['frame']))}",
        frame=str(row["frame"]),
        image=folder / row["image"],
        prompt=str(row["prompt"]),
        truth=str(row["truth"]),
        kind=str(row.get("kind", "")),
        box=None if box is None else _box(box),
        place=str(row.get("place", "")),
        footprint=_footprint(row),
        also_right=_texts(row.get("also_right", [])),
        origin=window_in(row, folder / row["image"]),
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
