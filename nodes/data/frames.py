"""Image files of frames that are cut from scenes or stored in other files, made once and kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from nodes.contract.files import replacing, write_atomically
from nodes.data.pair import Footprint, Pair
from nodes.data.scenes import whole_scene
from nodes.errors import DataError

KEPT = Path.home() / ".cache" / "spaceverse" / "frames"


def in_place(pairs: Sequence[Pair], kept: Path = KEPT) -> list[Pair]:
    """Return the pairs with their image files in place.

    A frame with an `origin` gets a file in `kept`, and one of JSON with its record beside it. A TIFF of more
    than 8 bits, with many bands or too many pixels is replaced by a frame of the whole scene.

    Raises:
        DataError: A scene or a file cannot be read, or the folder cannot be written.
    """
    scenes: dict[Path, Pair] = {}
    made = []
    for pair in pairs:
        if pair.origin is None:
            if pair.image not in scenes:
                scenes[pair.image] = _made(replace(pair, origin=whole_scene(pair.image)), kept)
            of_image = scenes[pair.image]
            made.append(
                replace(
                    pair,
                    image=of_image.image,
                    record=of_image.record,
                    footprint=pair.footprint or of_image.footprint,
                )
            )
        else:
            made.append(_made(pair, kept))
    return made


def _made(pair: Pair, kept: Path) -> Pair:
    if pair.origin is None:
        return pair
    key = pair.origin.key()
    ending = ".png" if pair.image.suffix.lower() in (".tif", ".tiff") else pair.image.suffix
    image, described = kept / f"{key}{ending}", kept / f"{key}.json"
    try:
        if not (image.is_file() and described.is_file()):
            kept.mkdir(parents=True, exist_ok=True)
            with replacing(image) as unfinished:
                record = pair.origin.write(unfinished)
            write_atomically(described, json.dumps(record, indent=2) + "\n")
        record = json.loads(described.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(
            f"{error.filename or kept}: the frame of {pair.image} cannot be kept: {error.strerror}"
        ) from error
    footprint = pair.footprint
    if footprint is None and "span_deg" in record:
        footprint = Footprint(record["latitude_deg"], record["longitude_deg"], record["span_deg"])
    return replace(pair, image=image, origin=None, record=record or None, footprint=footprint)
