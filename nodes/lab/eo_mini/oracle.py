"""Plain detectors that find the resolution at which a prompt can be answered.

Fine kinds: the detector knows the window and its kind of content.

* Ships and crowns: every bright spot is measured (elongation, peak, texture, area). The best measure and
  threshold are fitted on half of the frames; spots beyond the threshold are counted in the other half, and
  the other way round.
* Rows: the direction with the strongest stripes anywhere in the window, at the period that is best on the
  other half.

Coarse kinds: the answer of the nearest neighbours by colour histograms of the frame or its halves.

Detectors for reduced frames are fitted on reduced frames, so they do not depend on lost details.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nodes.lab.eo_mini.windows import COUNTS, DIRECTIONS, WINDOW_PX

Floats = NDArray[np.float64]
Line = dict[str, Any]
OpenFrame = Callable[[str], Image.Image]

REDUCED_PX = 224  # side of a reduced frame
_PERIODS_PX = (4.8, 5.2, 5.6, 9.0, 14.0, 24.0)  # the long ones are aliases in reduced frames
_GREY = np.array([0.299, 0.587, 0.114])
_LEAST_SPOT_PX = 5
_NEIGHBOURS = 3
_LEVELS = 4


@dataclass(frozen=True)
class Score:
    """Share of correct answers to one kind at both resolutions."""

    kind: str
    pairs: int
    native: float
    reduced: float


def scores(lines: Sequence[Line], open_frame: OpenFrame, on_frame: Callable[[], None]) -> list[Score]:
    """Score every kind.

    Args:
        lines: Lines of `prompts.jsonl`.
        open_frame: Opens a frame by its file name.
        on_frame: Called after every frame, twice for each.
    """
    right: dict[str, list[NDArray[np.bool_]]] = {}
    for reduced in (False, True):
        clues = _clues(lines, open_frame, reduced, on_frame)
        for kind in sorted({line["kind"] for line in lines}):
            chosen = [n for n, line in enumerate(lines) if line["kind"] == kind]
            detect = {"ships": _count_right, "crowns": _count_right, "rows": _rows_right}.get(
                kind, _coarse_right
            )
            right.setdefault(kind, []).append(detect([lines[n] for n in chosen], [clues[n] for n in chosen]))
    return [
        Score(kind, len(native), float(native.mean()), float(reduced.mean()))
        for kind, (native, reduced) in right.items()
    ]


def _clues(
    lines: Sequence[Line], open_frame: OpenFrame, reduced: bool, on_frame: Callable[[], None]
) -> list[Any]:
    """Return the measurements that the detectors need for each line."""
    clues: dict[int, Any] = {}
    by_image: dict[str, list[int]] = {}
    for number, line in enumerate(lines):
        by_image.setdefault(line["image"], []).append(number)
    for image, numbers in by_image.items():
        frame = open_frame(image).convert("RGB")
        if reduced:
            frame = frame.resize((REDUCED_PX, REDUCED_PX), Image.Resampling.BICUBIC)
        for number in numbers:
            line = lines[number]
            window = _window(frame, line) if "box" in line else None
            match line["kind"]:
                case "ships" | "crowns":
                    clues[number] = list(_spots(window))
                case "rows":
                    clues[number] = _stripe_strengths(window)
                case _:
                    clues[number] = _histograms(frame)
        on_frame()
    return [clues[number] for number in range(len(lines))]


def _window(frame: Image.Image, line: Line) -> Floats:
    """Cut a window out of a frame, scaled to its native size."""
    left, top, right, bottom = (edge * frame.width for edge in line["box"])
    size = (WINDOW_PX, WINDOW_PX)
    return np.asarray(
        frame.resize(size, Image.Resampling.BICUBIC, box=(left, top, right, bottom)), dtype=np.float64
    )


def _spots(window: Any) -> Iterator[tuple[float, ...]]:
    """Yield elongation, peak, texture and area of each spot that is brighter than its surroundings."""
    grey = window @ _GREY
    inner = grey[12:-12, 12:-12]
    above = inner - np.median(inner)
    labels = _label(above > 0.4 * np.percentile(above, 99.7))
    fine = inner - _blurred(inner)
    for label in np.unique(labels[labels > 0]):
        y, x = np.nonzero(labels == label)
        if len(y) < _LEAST_SPOT_PX:
            continue
        weight = above[y, x]
        spread = np.cov(np.stack([x, y]), aweights=weight) + np.eye(2) / 12
        short, long = np.sqrt(np.linalg.eigvalsh(spread))
        near = (np.hypot(x - np.average(x, weights=weight), y - np.average(y, weights=weight))) < 6
        yield float(long / short), float(weight.max()), float(fine[y, x][near].std()), float(len(y))


def _label(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Give each group of touching pixels (8 neighbours) a number; 0 is outside."""
    labels = np.where(mask, np.arange(1, mask.size + 1).reshape(mask.shape), 0)
    while True:
        padded = np.pad(labels, 1)
        height, width = mask.shape
        shifted = [padded[y : y + height, x : x + width] for y in range(3) for x in range(3)]
        grown = np.where(mask, np.maximum.reduce(shifted), 0)
        if np.array_equal(grown, labels):
            return labels
        labels = grown


def _blurred(grey: Floats) -> Floats:
    """Average over 7 x 7 pixels."""
    padded = np.pad(grey, ((4, 3), (4, 3)), mode="edge").cumsum(0).cumsum(1)
    return np.asarray((padded[7:, 7:] - padded[:-7, 7:] - padded[7:, :-7] + padded[:-7, :-7]) / 49)


def _count_right(lines: Sequence[Line], clues: Sequence[Any]) -> NDArray[np.bool_]:
    truths = np.array([COUNTS.index(line["truth"]) for line in lines])
    right = np.zeros(len(lines), dtype=bool)
    for fitted, tested in _halves(lines):
        values = [value for n in fitted for value in clues[n]]
        best, rule = -1.0, (0, 0.0, 1)
        for measure in range(4) if values else ():
            cuts = np.quantile([value[measure] for value in values], np.linspace(0.02, 0.98, 49))
            for cut in cuts:
                for sign in (1, -1):
                    counts = np.array([_beyond(clues[n], measure, cut, sign) for n in fitted])
                    share = float(np.mean(counts == truths[fitted]))
                    if share > best:
                        best, rule = share, (measure, float(cut), sign)
        right[tested] = [_beyond(clues[n], *rule) == truths[n] for n in tested]
    return right


def _beyond(spots: Sequence[tuple[float, ...]], measure: int, cut: float, sign: int) -> int:
    """Count the spots beyond a threshold, at most three."""
    return min(3, sum(sign * spot[measure] > sign * cut for spot in spots))


def _stripe_strengths(window: Any) -> Floats:
    """Return the highest relative energy of stripes in any patch; float64[periods, directions]."""
    grey = window @ _GREY
    grey = grey - _blurred(grey) if grey.std() > 0 else grey
    y, x = np.mgrid[: grey.shape[0], : grey.shape[1]]
    strengths = np.zeros((len(_PERIODS_PX), len(DIRECTIONS)))
    for row, period_px in enumerate(_PERIODS_PX):
        energies = []
        for number in range(len(DIRECTIONS)):
            bearing = math.radians(45 * number)
            turns = 2 * math.pi * (x * math.cos(bearing) + y * math.sin(bearing)) / period_px
            energies.append(np.hypot(*(_patch_sums(grey * wave(turns)) for wave in (np.cos, np.sin))))
        total = np.sum(energies, axis=0) + 1e-9
        strengths[row] = [float((energy**2 / total).max()) for energy in energies]
    return strengths


def _patch_sums(values: Floats, half_px: int = 12) -> Floats:
    """Sum over square patches with a side of 2 * half_px, one every half_px."""
    count = values.shape[0] // half_px
    blocks = values.reshape(count, half_px, count, half_px).sum(axis=(1, 3))
    rows = blocks[1:] + blocks[:-1]
    return np.asarray(rows[:, 1:] + rows[:, :-1])


def _rows_right(lines: Sequence[Line], clues: Sequence[Any]) -> NDArray[np.bool_]:
    truths = np.array([DIRECTIONS.index(line["truth"]) for line in lines])
    guesses = np.stack(clues).argmax(axis=2)  # [lines, periods]
    right = np.zeros(len(lines), dtype=bool)
    for fitted, tested in _halves(lines):
        period = int(np.argmax((guesses[fitted] == truths[fitted, None]).mean(axis=0)))
        right[tested] = guesses[tested, period] == truths[tested]
    return right


def _halves(lines: Sequence[Line]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield (lines to fit on, lines to test on), both ways; each frame is in one half only."""
    frames = sorted({line["frame"] for line in lines})
    even = np.array([frames.index(line["frame"]) % 2 == 0 for line in lines])
    first, second = np.flatnonzero(even), np.flatnonzero(~even)
    yield first, second
    yield second, first


def _histograms(frame: Image.Image) -> Floats:
    """Return the shares of 64 colours in the upper, then in the lower half; float64[128]."""
    pixels = np.asarray(frame.resize((REDUCED_PX, REDUCED_PX), Image.Resampling.NEAREST)) // (256 // _LEVELS)
    codes = pixels @ np.array([_LEVELS**2, _LEVELS, 1])
    halves = np.array_split(codes, 2)
    return np.concatenate([np.bincount(half.ravel(), minlength=_LEVELS**3) / half.size for half in halves])


def _coarse_right(lines: Sequence[Line], clues: Sequence[Any]) -> NDArray[np.bool_]:
    """Answer as the nearest other frames with the same prompt do."""
    whole = np.stack(clues)
    folded = whole[:, : _LEVELS**3] + whole[:, _LEVELS**3 :]
    right = np.zeros(len(lines), dtype=bool)
    for number, line in enumerate(lines):
        seen = whole if line["kind"] == "cloudier" else folded
        others = [
            n
            for n, other in enumerate(lines)
            if other["prompt"] == line["prompt"] and other["frame"] != line["frame"]
        ]
        nearest = sorted(others, key=lambda n: float(np.abs(seen[n] - seen[number]).sum()))[:_NEIGHBOURS]
        answers = Counter(lines[n]["truth"] for n in nearest).most_common(1)
        right[number] = bool(answers) and answers[0][0] == line["truth"]
    return right
