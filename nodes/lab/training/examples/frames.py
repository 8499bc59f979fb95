"""Training frames: the train split of eo-mini, rendered once and stored.

    <cache>/train/<seed>/e0000.jpg ...   as `python -m nodes.lab.eo_mini build --split train` writes them
                          prompts.jsonl   questions, and positions of fine content
                          overviews.npy   the frames at OVERVIEW_PX, since reducing them is slow
                          dense.npz       land cover and clouds under each cell of a coarse grid

Frames do not ship: the same seed and versions of numpy and Pillow render the same frames.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nodes.contract.files import replacing
from nodes.lab.eo_mini.build import Frame, draw_frames, write
from nodes.lab.eo_mini.ground import COVERS
from nodes.lab.eo_mini.places import FRAME_PX
from nodes.lab.eo_mini.sources import open_sources

FRAMES_PER_SET = 400
SETS = 16
OVERVIEW_PX = 224
TOKEN_PX = 28
GRID = 8  # cells per side of dense targets, one for each image token of an overview
_OVERVIEWS, _DENSE = "overviews.npy", "dense.npz"


@dataclass(frozen=True)
class Question:
    """A prompt about a frame, and its answer."""

    kind: str
    prompt: str
    truth: str


@dataclass(frozen=True)
class Content:
    """Fine content of a frame.

    Attributes:
        kind: Its kind.
        box_px: Left, upper, right, lower.
        spots: (x, y, label) of each object, in px; the label is the kind, or the direction of a plot's rows.
    """

    kind: str
    box_px: tuple[float, float, float, float]
    spots: tuple[tuple[float, float, str], ...]


@dataclass(frozen=True)
class TrainingFrame:
    """A frame with its questions and ground truth.

    Attributes:
        path: Its JPEG file.
        overview: uint8[OVERVIEW_PX, OVERVIEW_PX, 3], the reduced frame.
        questions: Questions about it.
        contents: Its fine contents.
        cover: float32[GRID, GRID, covers], shares of land cover.
        cloud: float32[GRID, GRID], mean opacity of clouds.
    """

    path: Path
    overview: NDArray[np.uint8]
    questions: tuple[Question, ...]
    contents: tuple[Content, ...]
    cover: NDArray[np.float32]
    cloud: NDArray[np.float32]

    def pixels(self) -> NDArray[np.uint8]:
        """Decode the frame: uint8[side, side, 3]."""
        with Image.open(self.path) as opened:
            return np.asarray(opened.convert("RGB"))


def training_frames(
    cache: Path, seeds: int, on_frames: Callable[[int], None] = lambda count: None
) -> list[TrainingFrame]:
    """Return the frames of the sets 0 to `seeds` - 1; render missing sets, with a process per core.

    Args:
        cache: Folder of the sets.
        seeds: Number of sets.
        on_frames: Called every second with the number of rendered frames.

    Raises:
        SourceError: The imagery cannot be fetched or read.
    """
    folders = [_folder(cache, seed) for seed in range(seeds)]
    missing = [seed for seed, folder in enumerate(folders) if not (folder / _DENSE).is_file()]
    if missing:
        open_sources(cache)  # fetched once, not by each process
        with ProcessPoolExecutor() as pool:
            drawn = [pool.submit(draw_set, cache, folders[seed], seed, FRAMES_PER_SET) for seed in missing]
            while wait(drawn, timeout=1.0).not_done:
                on_frames(sum(len(list(folder.glob("e*.jpg"))) for folder in folders))
            for future in drawn:
                future.result()
    return [frame for folder in folders for frame in read_set(folder)]


def training_prompts(cache: Path, seeds: int) -> list[tuple[str, str]]:
    """Return prompt and truth of every training question; render the frames if needed.

    Raises:
        SourceError: The imagery cannot be fetched or read.
    """
    paths = [_folder(cache, seed) / "prompts.jsonl" for seed in range(seeds)]
    if not all(path.is_file() for path in paths):
        training_frames(cache, seeds)
    lines = [json.loads(line) for path in paths for line in path.read_text(encoding="utf-8").splitlines()]
    return [(line["prompt"], line["truth"]) for line in lines]


def _folder(cache: Path, seed: int) -> Path:
    return cache / "train" / str(seed)


def draw_set(cache: Path, folder: Path, seed: int, count: int) -> None:
    """Render one set; dense.npz is written last and marks a complete set."""
    covers: list[NDArray[np.float32]] = []
    clouds: list[NDArray[np.float32]] = []

    def recorded() -> Iterator[Frame]:
        for frame in draw_frames(open_sources(cache), "train", count, seed):
            covers.append(_cover_shares(frame.ground.cover))
            clouds.append(_means(frame.cloud))
            yield frame

    write(recorded(), folder)
    np.save(folder / _OVERVIEWS, np.stack([_reduced(path) for path in sorted(folder.glob("e*.jpg"))]))
    with replacing(folder / _DENSE) as temporary, temporary.open("wb") as file:
        np.savez(file, cover=np.stack(covers), cloud=np.stack(clouds))


def _reduced(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as opened:
        return np.asarray(opened.resize((OVERVIEW_PX, OVERVIEW_PX), Image.Resampling.BICUBIC))


def _cover_shares(cover: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.stack([_means((cover == index).astype(np.float32)) for index in range(len(COVERS))], axis=-1)


def _means(values: NDArray[np.float32]) -> NDArray[np.float32]:
    side = values.shape[0] // GRID
    return np.asarray(values.reshape(GRID, side, GRID, side).mean(axis=(1, 3), dtype=np.float32))


def read_set(folder: Path) -> list[TrainingFrame]:
    """Return the frames of a rendered set."""
    lines = [json.loads(line) for line in (folder / "prompts.jsonl").read_text(encoding="utf-8").splitlines()]
    lines_by_image: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        lines_by_image.setdefault(line["image"], []).append(line)
    overviews = np.load(folder / _OVERVIEWS, mmap_mode="r")  # parallel trainings share its memory
    with np.load(folder / _DENSE) as dense:
        covers, clouds = dense["cover"], dense["cloud"]
    return [
        TrainingFrame(
            path=folder / image,
            overview=overviews[int(image[1:5])],
            questions=tuple(Question(line["kind"], line["prompt"], line["truth"]) for line in lines_of_image),
            contents=tuple(_content(line) for line in lines_of_image if "box" in line),
            cover=covers[int(image[1:5])],
            cloud=clouds[int(image[1:5])],
        )
        for image, lines_of_image in sorted(lines_by_image.items())
    ]


def _content(line: dict[str, Any]) -> Content:
    left, upper, right, lower = (edge * FRAME_PX for edge in line["box"])
    what = line["truth"] if line["kind"] == "rows" else line["kind"]
    spots = tuple((float(x), float(y), what) for x, y in line["marks_px"])
    return Content(line["kind"], (left, upper, right, lower), spots)
