"""Composited content of the fine kinds, each in a window of WINDOW_PX inside one cell of the frame.

Everything that a reduced picture could show is the same for every answer: number, size and brightness of
the objects, and contrast of the texture. Only shape, direction or inner texture differs, at a scale of about
5 px. The window's ground is drawn as well. The content is not to scale: a ship is not 20 km long.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nodes.lab.eo_mini.sources import CROWN_PX

Floats = NDArray[np.float32]
WINDOW_PX = 168
COUNTS = ("zero", "one", "two", "three")
DIRECTIONS = ("north", "northeast", "east", "northwest")  # of crop rows, 45 degrees apart
PROMPTS = {
    "ships": "How many ships are on the water?",
    "rows": "In which direction do the crop rows run?",
    "crowns": "How many tree crowns stand apart?",
}
ANSWERS = {"ships": COUNTS, "rows": DIRECTIONS, "crowns": COUNTS}

_EDGE_PX = 10
_SENSOR_NOISE = 3.0
_SHIP_OBJECTS, _SHIP_AREA_PX, _SHIP_ELONGATION, _ISLET_ELONGATION = 7, (20.0, 30.0), (3.2, 4.8), (1.0, 1.2)
_TREE_OBJECTS = 6
_PLOT_PX, _LANE_PX, _PERIOD_PX, _ROW_CONTRAST = 46, 6, (4.6, 5.8), 13.0


@dataclass(frozen=True)
class Window:
    """The content of one window.

    Attributes:
        kind: A key of PROMPTS.
        answer: Answer to the kind's prompt.
        pixels: Colours, 0 to 255; float32[WINDOW_PX, WINDOW_PX, 3].
        opacity: Opacity over the frame, 0 to 1; float32[WINDOW_PX, WINDOW_PX].
        marks: Positions (x, y) in pixels of the objects that the answer counts or describes.
    """

    kind: str
    answer: str
    pixels: Floats
    opacity: Floats
    marks: tuple[tuple[float, float], ...]


def draw_window(
    kind: str, answer: str, crowns: Sequence[NDArray[np.uint8]], rng: np.random.Generator
) -> Window:
    """Draw a window for which PROMPTS[kind] has this answer."""
    draw: Callable[..., tuple[Floats, list[tuple[float, float]]]] = {
        "ships": _ships,
        "rows": _rows,
        "crowns": _crowns,
    }[kind]
    pixels, marks = draw(ANSWERS[kind].index(answer), crowns, rng)
    pixels = pixels + rng.normal(0, _SENSOR_NOISE, (WINDOW_PX, WINDOW_PX, 1)).astype(np.float32)
    return Window(kind, answer, pixels, _soft_square(), tuple(marks))


def draw_dense_window(
    kind: str, crowns: Sequence[NDArray[np.uint8]], rng: np.random.Generator
) -> tuple[Floats, list[tuple[float, float, str]]]:
    """Draw a window for pretraining, with more content than the prompts ask about.

    Any number of the objects are ships or crowns. Half of the plots have rows, each in its own direction.

    Returns:
        Pixels, float32[WINDOW_PX, WINDOW_PX, 3], and (x, y, label) of every object or plot with rows; the
        label is the kind or the direction.
    """
    if kind == "rows":
        pixels = np.zeros((WINDOW_PX, WINDOW_PX, 3)) + _soil(rng)
        chosen = [int(rng.integers(4)) if rng.random() < 0.5 else None for _ in range(9)]
        marks = _plant(pixels, chosen, rng)
        planted = [DIRECTIONS[direction] for direction in chosen if direction is not None]
        labelled = [(x, y, name) for (x, y), name in zip(marks, planted, strict=True)]
    else:
        draw, most = {"ships": (_ships, _SHIP_OBJECTS), "crowns": (_crowns, _TREE_OBJECTS)}[kind]
        drawn, marks = draw(int(rng.integers(most + 1)), crowns, rng)
        pixels, labelled = drawn.astype(np.float64), [(x, y, kind) for x, y in marks]
    noise = rng.normal(0, _SENSOR_NOISE, (WINDOW_PX, WINDOW_PX, 1))
    return np.asarray(pixels + noise, dtype=np.float32), labelled


def _soft_square() -> Floats:
    """Return an opacity of 1 that falls to 0 over the outer _EDGE_PX, with round corners."""
    inner = np.abs(np.arange(WINDOW_PX) - (WINDOW_PX - 1) / 2) - (WINDOW_PX / 2 - 2 * _EDGE_PX)
    inner = np.maximum(inner, 0)
    distance = np.hypot(inner[:, None], inner[None, :])
    return np.asarray(np.clip((2 * _EDGE_PX - distance) / _EDGE_PX, 0, 1), dtype=np.float32)


def _ships(
    count: int, _: Sequence[NDArray[np.uint8]], rng: np.random.Generator
) -> tuple[Floats, list[tuple[float, float]]]:
    water = np.array([rng.uniform(8, 24), rng.uniform(22, 44), rng.uniform(52, 80)])
    pixels = water + _smooth(rng, 24.0)[..., None] * 4.0
    spots = _spread(_SHIP_OBJECTS, 25.0, 24.0, rng)
    for number, (x_px, y_px) in enumerate(spots):
        elongation = rng.uniform(*(_SHIP_ELONGATION if number < count else _ISLET_ELONGATION))
        mask = _ellipse(x_px, y_px, rng.uniform(*_SHIP_AREA_PX), elongation, rng.uniform(0, math.pi))
        colour = rng.uniform(190, 240) + rng.uniform(-8, 8, 3)
        pixels = pixels * (1 - mask[..., None]) + colour * mask[..., None]
    return pixels.astype(np.float32), spots[:count]


def _rows(
    direction: int, _: Sequence[NDArray[np.uint8]], rng: np.random.Generator
) -> tuple[Floats, list[tuple[float, float]]]:
    pixels = np.zeros((WINDOW_PX, WINDOW_PX, 3)) + _soil(rng)
    planted = int(rng.integers(9))
    marks = _plant(pixels, [direction if plot == planted else None for plot in range(9)], rng)
    return pixels.astype(np.float32), marks


def _soil(rng: np.random.Generator) -> NDArray[np.float64]:
    return np.array([rng.uniform(105, 135), rng.uniform(105, 130), rng.uniform(60, 85)])


def _plant(
    pixels: NDArray[np.float64], directions: Sequence[int | None], rng: np.random.Generator
) -> list[tuple[float, float]]:
    """Draw nine plots with rows or speckle into `pixels`, and return the centres of those with rows."""
    period_px = rng.uniform(*_PERIOD_PX)
    marks = []
    for plot, direction in enumerate(directions):
        left, top = (_EDGE_PX - 1 + (_PLOT_PX + _LANE_PX) * n for n in (plot % 3, plot // 3))
        if direction is None:
            texture = _speckle(period_px, rng)
        else:
            texture = _stripes(direction, period_px, rng)
            marks.append((left + _PLOT_PX / 2, top + _PLOT_PX / 2))
        shade = rng.normal(0, 5, 3)
        area = pixels[top : top + _PLOT_PX, left : left + _PLOT_PX]
        area += shade + _ROW_CONTRAST * texture[..., None]
    return marks


def _crowns(
    count: int, crowns: Sequence[NDArray[np.uint8]], rng: np.random.Generator
) -> tuple[Floats, list[tuple[float, float]]]:
    meadow = np.array([rng.uniform(88, 108), rng.uniform(84, 102), rng.uniform(52, 70)])
    pixels = meadow + _smooth(rng, 16.0)[..., None] * 4.0
    spots = _spread(_TREE_OBJECTS, 24.0, 30.0, rng)
    for number, (x_px, y_px) in enumerate(spots):
        crown = np.rot90(crowns[int(rng.integers(len(crowns)))].astype(np.float32), int(rng.integers(4)))
        mask = _ellipse(CROWN_PX / 2, CROWN_PX / 2, math.pi * 8.0**2, 1.1, rng.uniform(0, math.pi), CROWN_PX)
        mean = (crown * mask[..., None]).sum((0, 1)) / mask.sum()
        # Trees and boulders share one shading, lit from one side, because shading shows in reduced frames.
        slope = (np.mgrid[:CROWN_PX, :CROWN_PX] - CROWN_PX / 2) / CROWN_PX
        turn = rng.uniform(0, 2 * math.pi)
        stone = mean + 14 * (slope[0] * math.sin(turn) + slope[1] * math.cos(turn))[..., None]
        crown = stone + (crown - _coarse(crown) if number < count else 0)
        left, top = round(x_px) - CROWN_PX // 2, round(y_px) - CROWN_PX // 2
        area = pixels[top : top + CROWN_PX, left : left + CROWN_PX]
        area[:] = area * (1 - mask[..., None]) + crown * mask[..., None]
    return pixels.astype(np.float32), spots[:count]


def _coarse(crown: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return a crown without details finer than a grid of 3 x 3."""
    image = Image.fromarray(np.clip(crown, 0, 255).astype(np.uint8))
    small = image.resize((3, 3), Image.Resampling.BOX)
    return np.asarray(small.resize((CROWN_PX, CROWN_PX), Image.Resampling.BICUBIC), dtype=np.float64)


def _spread(
    count: int, margin_px: float, apart_px: float, rng: np.random.Generator
) -> list[tuple[float, float]]:
    """Draw points of the window with this distance from each other and from the edge."""
    while True:
        spots: list[tuple[float, float]] = []
        for _ in range(200):
            x_px, y_px = (float(v) for v in rng.uniform(margin_px, WINDOW_PX - margin_px, 2))
            if all(math.dist((x_px, y_px), other) >= apart_px for other in spots):
                spots.append((x_px, y_px))
            if len(spots) == count:
                return spots


def _ellipse(
    x_px: float, y_px: float, area_px: float, elongation: float, heading: float, side_px: int = WINDOW_PX
) -> NDArray[np.float64]:
    """Return each pixel's coverage by an ellipse, 0 to 1, with an error of a few per cent at its edge."""
    long_px = math.sqrt(area_px * elongation / math.pi)
    short_px = long_px / elongation
    y, x = np.mgrid[:side_px, :side_px] + 0.5
    along = (x - x_px) * math.cos(heading) + (y - y_px) * math.sin(heading)
    across = (y - y_px) * math.cos(heading) - (x - x_px) * math.sin(heading)
    level = np.hypot(along / long_px, across / short_px)
    slope = np.hypot(along / long_px**2, across / short_px**2) / np.maximum(level, 1e-6)
    return np.asarray(np.clip((1 - level) / np.maximum(slope, 1e-6) + 0.5, 0, 1))


def _stripes(direction: int, period_px: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return rows that run north (0), northeast, east or northwest; mean 0, variance 1."""
    y, x = np.mgrid[:_PLOT_PX, :_PLOT_PX]
    bearing = math.radians((0, 45, 90, 135)[direction] + rng.uniform(-6, 6))  # clockwise from north
    across = x * math.cos(bearing) + y * math.sin(bearing)
    return np.asarray(math.sqrt(2) * np.sin(2 * math.pi * (across / period_px + rng.random())))


def _speckle(period_px: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return texture of the scale and contrast of `_stripes`, without direction; mean 0, variance 1."""
    frequency = np.fft.fftfreq(_PLOT_PX)
    radius = np.hypot(frequency[:, None], frequency[None, :])
    ring = np.exp(-(((radius - 1 / period_px) / 0.02) ** 2))
    noise = np.fft.ifft2(np.fft.fft2(rng.normal(size=(_PLOT_PX, _PLOT_PX))) * ring).real
    return np.asarray((noise - noise.mean()) / noise.std())


def _smooth(rng: np.random.Generator, scale_px: float) -> NDArray[np.float64]:
    """Return a smooth random field over the window, about -1 to 1."""
    knots = max(3, round(WINDOW_PX / scale_px))
    field = Image.fromarray(rng.uniform(-1, 1, (knots, knots)).astype(np.float32))
    return np.asarray(field.resize((WINDOW_PX, WINDOW_PX), Image.Resampling.BICUBIC), dtype=np.float64)
