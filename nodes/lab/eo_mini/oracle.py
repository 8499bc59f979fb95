"""At which resolution can a prompt be answered? Plain detectors that know everything but the answer say so.

Fine kinds: the detector knows the content's window and what to look for. Ships and crowns: each bright spot
is measured (elongation, peak, texture, area); the best of these measures and its threshold are found on half
of the frames, the spots beyond it are counted in the other half, and the other way round. Rows: the direction
whose stripes are the strongest anywhere in the window, at the period that does best on the other half. For
reduced frames all of this is found anew on reduced frames, so that it is not held to what only pixels show.
Coarse kinds: the nearest neighbours' answer, by histograms of colour, of the whole and of its halves.
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

REDUCED_PX = 224  # a side of the whole frame
_PERIODS_PX = (4.8, 5.2, 5.6, 9.0, 14.0, 24.0)  # the last for reduced frames: what is folded down
_GREY = np.array([0.299, 0.587, 0.114])
_LEAST_SPOT_PX = 5
_NEIGHBOURS = 3
_LEVELS = 4


@dataclass(frozen=True)
class Score:
    """Right answers of one kind, at both resolutions."""

    kind: str
    pairs: int
    native: float
    reduced: float


def scores(lines: Sequence[Line], open_frame: OpenFrame, on_frame: Callable[[], None]) -> list[Score]:
    """Score every kind; `open_frame` gives a frame by its file's name."""
    right: dict[str, list[NDArray[np.bool_]]] = {}
    for reduced in (False, True):
        clues = _clues(lines, open_frame, reduced, on_frame)
        for kind in sorted({line["kind"] for line in lines}):
            chosen = [n for n, line in enumerate(lines) if line["kind"] == kind]
            judge = {"ships": _count_right, "crowns": _count_right, "rows": _rows_right}.get(
                kind, _coarse_right
            )
            right.setdefault(kind, []).append(judge([lines[n] for n in chosen], [clues[n] for n in chosen]))
    return [
        Score(kind, len(native), float(native.mean()), float(reduced.mean()))
        for kind, (native, reduced) in right.items()
    ]


def _clues(
    lines: Sequence[Line], open_frame: OpenFrame, reduced: bool, on_frame: Callable[[], None]
) -> list[Any]:
    """What the detectors measure for each line."""
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
    """The content's window, enlarged to the size that it has natively."""
    left, top, right, bottom = (edge * frame.width for edge in line["box"])
    size = (WINDOW_PX, WINDOW_PX)
    return np.asarray(
        frame.resize(size, Image.Resampling.BICUBIC, box=(left, top, right, bottom)), dtype=np.float64
    )


def _spots(window: Any) -> Iterator[tuple[float, ...]]:
    """Elongation, peak, texture and area of each spot that is brighter than its surroundings."""
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
    """A number for each group of touching pixels (8 neighbours), 0 outside."""
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
    """Mean over 7 x 7."""
    padded = np.pad(grey, ((4, 3), (4, 3)), mode="edge").cumsum(0).cumsum(1)
    return np.asarray((padded[7:, 7:] - padded[:-7, 7:] - padded[7:, :-7] + padded[:-7, :-7]) / 49)


def _count_right(lines: Sequence[Line], clues: Sequence[Any]) -> NDArray[np.bool_]:
    truths = np.array([COUNTS.index(line["truth"]) for line in lines])
    right = np.zeros(len(lines), dtype=bool)
    for tuned, judged in _halves(lines):
        values = [value for n in tuned for value in clues[n]]
        best, rule = -1.0, (0, 0.0, 1)
        for measure in range(4) if values else ():
            cuts = np.quantile([value[measure] for value in values], np.linspace(0.02, 0.98, 49))
            for cut in cuts:
                for sign in (1, -1):
                    found = np.array([_beyond(clues[n], measure, cut, sign) for n in tuned])
                    share = float(np.mean(found == truths[tuned]))
                    if share > best:
                        best, rule = share, (measure, float(cut), sign)
        right[judged] = [_beyond(clues[n], *rule) == truths[n] for n in judged]
    return right


def _beyond(spots: Sequence[tuple[float, ...]], measure: int, cut: float, sign: int) -> int:
    return min(3, sum(sign * spot[measure] > sign * cut for spot in spots))


def _stripe_strengths(window: Any) -> Floats:
    """Float64[periods, directions]: the most energy of stripes in any patch, beside all directions'."""
    grey = window @ _GREY
    grey = grey - _blurred(grey) if grey.std() > 0 else grey
    y, x = np.mgrid[: grey.shape[0], : grey.shape[1]]
    found = np.zeros((len(_PERIODS_PX), len(DIRECTIONS)))
    for row, period_px in enumerate(_PERIODS_PX):
        energies = []
        for number in range(len(DIRECTIONS)):
            bearing = math.radians(45 * number)
            turns = 2 * math.pi * (x * math.cos(bearing) + y * math.sin(bearing)) / period_px
            energies.append(np.hypot(*(_patch_sums(grey * wave(turns)) for wave in (np.cos, np.sin))))
        total = np.sum(energies, axis=0) + 1e-9
        found[row] = [float((energy**2 / total).max()) for energy in energies]
    return found


def _patch_sums(values: Floats, half_px: int = 12) -> Floats:
    """Sums over patches of 2 half_px a side, one every half_px."""
    count = values.shape[0] // half_px
    blocks = values.reshape(count, half_px, count, half_px).sum(axis=(1, 3))
    rows = blocks[1:] + blocks[:-1]
    return np.asarray(rows[:, 1:] + rows[:, :-1])


def _rows_right(lines: Sequence[Line], clues: Sequence[Any]) -> NDArray[np.bool_]:
    truths = np.array([DIRECTIONS.index(line["truth"]) for line in lines])
    guesses = np.stack(clues).argmax(axis=2)  # [lines, periods]
    right = np.zeros(len(lines), dtype=bool)
    for tuned, judged in _halves(lines):
        period = int(np.argmax((guesses[tuned] == truths[tuned, None]).mean(axis=0)))
        right[judged] = guesses[judged, period] == truths[judged]
    return right


def _halves(lines: Sequence[Line]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """(tuned on, judged on), both ways; a frame is in one half only."""
    frames = sorted({line["frame"] for line in lines})
    even = np.array([frames.index(line["frame"]) % 2 == 0 for line in lines])
    first, second = np.flatnonzero(even), np.flatnonzero(~even)
    yield first, second
    yield second, first


def _histograms(frame: Image.Image) -> Floats:
    """Shares of 64 colours in the upper and in the lower half; float64[128]."""
    pixels = np.asarray(frame.resize((REDUCED_PX, REDUCED_PX), Image.Resampling.NEAREST)) // (256 // _LEVELS)
    codes = pixels @ np.array([_LEVELS**2, _LEVELS, 1])
    halves = np.array_split(codes, 2)
    return np.concatenate([np.bincount(half.ravel(), minlength=_LEVELS**3) / half.size for half in halves])


def _coarse_right(lines: Sequence[Line], clues: Sequence[Any]) -> NDArray[np.bool_]:
    """By the nearest frames of which the same was asked, without the frame itself."""
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
