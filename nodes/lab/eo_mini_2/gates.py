"""Conditions that the benchmark must meet before a model is trained on it.

Each is measured on a stated number of frames, with a 95 % interval where it is a statistic. Detectors know
everything about a thing but its shape. They are fitted on frames drawn like the training split and measured
on frames drawn like the validation split, none of which is in a split. What concerns a split is measured on
all of its frames.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nodes.lab.eo_mini_2.answers import NOTHING_VISIBLE, items, score, tokens
from nodes.lab.eo_mini_2.cell_finders import rankings, share_found
from nodes.lab.eo_mini_2.compose import FRAME_LENGTHS_PX, FRAMES, Split, draw_scenes
from nodes.lab.eo_mini_2.detectors import Detector, likeliest_count, list_is_good, opacity_over, read
from nodes.lab.eo_mini_2.questions import Question, questions
from nodes.lab.eo_mini_2.scene import FRAME_PX, REDUCTION, SHAPES, Family, Scene
from nodes.lab.evaluation.figures import Interval, auroc, bootstrap, share
from nodes.onboard.confidence import cross_fitted

OVERLAP_MOST = 0.2
_SEED = 99  # of the frames that detectors are measured on: none of a split's
_POOL = 2000  # frames that are dealt; the first usable ones are taken
_CHANCE_COUNT = 1 / 4  # of the counts in a usable frame


@dataclass(frozen=True)
class Gate:
    """One condition.

    Attributes:
        name: What is measured.
        measured: The value as text, with its interval if it has one.
        required: The bound as text.
        sample: On what it was measured.
        passed: Whether the value meets the bound.
    """

    name: str
    measured: str
    required: str
    sample: str
    passed: bool


def check(
    split: Split = "test", fitted: int = 200, measured: int = 240, on_frame: Callable[[], None] = lambda: None
) -> list[Gate]:
    """Measure every condition.

    Args:
        split: Split whose frames, prompts and answers are checked.
        fitted: Frames to fit detectors on.
        measured: Frames to measure detectors on.
        on_frame: Called after each frame that was drawn: 2 * (fitted + measured) of the detectors, and those
            of the split.
    """
    scenes = list(draw_scenes(split, FRAMES[split]))
    return [*split_gates(scenes, on_frame), *detector_gates(fitted, measured, on_frame)]


def split_gates(scenes: Sequence[Scene], on_frame: Callable[[], None] = lambda: None) -> list[Gate]:
    """Check the frames, prompts and answers of a split."""
    sample = f"{len(scenes)} frames"
    asked = [(scene, question) for scene in scenes for question in questions(scene)]
    about = f"{len(asked)} prompts"
    useless = float(np.mean([scene.condition != "usable" for scene in scenes]))
    several = float(np.mean([len(question.cells) >= 2 for _, question in asked]))
    long = float(np.mean([len(tokens(question.truth)) >= 8 for _, question in asked]))
    sizes = [scene.sensor_bytes / 1e6 for scene in scenes]
    worst = most_overlap(scenes)
    return [
        Gate("largest overlap of two frames", f"{worst:.0%}", "<= 20 %", sample, worst <= OVERLAP_MOST),
        Gate("frames", str(len(scenes)), ">= 100", "the split", len(scenes) >= 100),
        Gate("useless frames", f"{useless:.1%}", "15 to 25 %", sample, 0.15 <= useless <= 0.25),
        Gate("prompts that need several cells", f"{several:.1%}", ">= 30 %", about, several >= 0.3),
        Gate("answers of 8 tokens and more", f"{long:.1%}", ">= 40 %", about, long >= 0.4),
        Gate(
            "declared size of a frame",
            f"{min(sizes):.1f} to {max(sizes):.1f} MB",
            "20 to 45 MB",
            sample,
            min(sizes) >= 20 and max(sizes) <= 45,
        ),
        *_blind_gates([question for _, question in asked]),
        _finder_gate([scene for scene in scenes if scene.condition == "usable"], on_frame),
    ]


def most_overlap(scenes: Sequence[Scene]) -> float:
    """Return the largest share of a frame that another one shows, too."""
    worst = 0.0
    places: dict[tuple[str, int], list[tuple[int, int]]] = defaultdict(list)
    for scene in scenes:
        places[scene.ground.source, scene.ground.seed].append((scene.ground.left_px, scene.ground.top_px))
    for corners in places.values():
        for (left, top), (other_left, other_top) in itertools.combinations(corners, 2):
            width, height = FRAME_PX - abs(left - other_left), FRAME_PX - abs(top - other_top)
            worst = max(worst, max(width, 0) * max(height, 0) / FRAME_PX**2)
    return worst


def _blind_gates(asked: Sequence[Question]) -> list[Gate]:
    """Compare the best answer without a frame with guessing among the truths of its prompt."""
    gates = []
    for kind in sorted({question.kind for question in asked}):
        rows = [question for question in asked if question.kind == kind]
        if kind.startswith("list"):
            value = max(
                float(np.mean([score(answer, row.truth, kind) for row in rows]))
                for answer in _blind_lists(rows)
            )
            chance = float(np.mean([row.truth == NOTHING_VISIBLE for row in rows]))
        else:
            prompts = {row.prompt for row in rows}
            commonest = sum(
                max(Counter(row.truth for row in rows if row.prompt == prompt).values()) for prompt in prompts
            )
            value, chance = commonest / len(rows), 1 / len({row.truth for row in rows})
        name = f"blind, {kind}" + (" (item F1)" if kind.startswith("list") else "")
        bound = chance + 0.1
        gates.append(
            Gate(
                name, f"{value:.1%}", f"<= {bound:.0%} (chance + 10)", f"{len(rows)} prompts", value <= bound
            )
        )
    return gates


def _blind_lists(rows: Iterable[Question]) -> list[str]:
    """Return the answers that could do best without a frame: nothing, and the commonest items."""
    often = Counter(" ".join(item) for row in rows for item in items(row.truth)).most_common(12)
    names = [name for name, _ in often]
    return [NOTHING_VISIBLE, *(" ; ".join(names[:count]) for count in range(1, len(names) + 1))]


def _finder_gate(scenes: Sequence[Scene], on_frame: Callable[[], None]) -> Gate:
    found: dict[str, list[float]] = defaultdict(list)
    names: list[str] = []
    for scene in scenes:
        ranked = rankings(scene)
        for question in questions(scene):
            if len(question.cells) <= 4:
                names.append(scene.name)
                for finder, ranking in ranked.items():
                    found[finder].append(share_found(ranking, question.cells))
        on_frame()
    best = max(found, key=lambda finder: float(np.mean(found[finder])))
    values = np.array(found[best])
    interval = bootstrap(names, lambda rows: float(values[rows].mean()), resamples=300)
    return Gate(
        f"cells found without a model, top 4 of 16 (best of {len(found)}: {best})",
        percent(interval),
        "<= 50 % (chance 25)",
        f"{len(values)} prompts that need up to 4 cells, {len(scenes)} frames",
        interval.value <= 0.5,
    )


@dataclass(frozen=True)
class _Row:
    """What a detector made of one family in one frame."""

    frame: str
    length_px: float
    known: tuple[float, ...]
    count_right: bool
    list_good: bool


def detector_gates(
    fitted: int = 200, measured: int = 240, on_frame: Callable[[], None] = lambda: None
) -> list[Gate]:
    """Check at which sizes the pixels hold the answers, at native and at reduced scale."""
    fit = usable("train", _POOL, fitted)
    sample = usable("val", _POOL, measured)
    gates = []
    for step, scale in ((1, "native"), (REDUCTION, "reduced")):
        for family, (first, second) in SHAPES.items():
            rows = detected(fit, sample, family, step, on_frame)
            name = f"{first} or {second}, {scale}"
            thirds = [_third(rows, number) for number in range(3)]
            if step == 1:
                for third, size in zip(thirds, ("smallest", "middle", "largest"), strict=True):
                    gates.append(_share_gate(f"count right, {name}, {size} third", third, 0.9, True))
            else:
                gates.append(
                    _share_gate(f"count right, {name}, smallest third", thirds[0], _CHANCE_COUNT + 0.1, False)
                )
                gates.append(_share_gate(f"count right, {name}, largest third", thirds[2], 0.85, True))
                counts, lists = [row.count_right for row in rows], [row.list_good for row in rows]
                gates.append(
                    _observer_gate(f"ideal observer of difficulty, count {first}s", rows, counts, 0.75)
                )
                gates.append(
                    _observer_gate(f"ideal observer of difficulty, list {first}s", rows, lists, 0.85)
                )
    return gates


def usable(split: Split, count: int, wanted: int) -> list[Scene]:
    """Draw usable frames of a split's distribution that the split itself does not have."""
    drawn = (scene for scene in draw_scenes(split, count, _SEED) if scene.condition == "usable")
    return list(itertools.islice(drawn, wanted))


def detected(
    fit: Sequence[Scene],
    sample: Sequence[Scene],
    family: Family,
    step: int,
    on_frame: Callable[[], None] = lambda: None,
) -> list[_Row]:
    """Fit a detector on some frames and return what it makes of others."""
    readings = []
    for scene in fit:
        readings += read(scene, family, step)
        on_frame()
    detector = Detector(readings)
    rows = []
    for scene in sample:
        of_scene = read(scene, family, step)
        odds, firsts = [detector.odds(one) for one in of_scene], [one.first for one in of_scene]
        opacity = float(np.mean([opacity_over(scene, thing) for thing in scene.of(family)]))
        lengths = [math.log(one.length_px) for one in of_scene]
        known = (float(np.mean(lengths)), min(lengths), math.log(scene.contrast), opacity, len(firsts))
        right = likeliest_count(odds) == sum(firsts)
        rows.append(_Row(scene.name, scene.length_px, known, right, list_is_good(odds, firsts)))
        on_frame()
    return rows


def _third(rows: Sequence[_Row], number: int) -> list[_Row]:
    """Return the rows of the smallest, middle or largest third of the range of sizes, by its logarithm."""
    logs = np.log([row.length_px for row in rows])
    low, high = (math.log(length_px) for length_px in FRAME_LENGTHS_PX)
    thirds = np.clip(((logs - low) / (high - low) * 3).astype(int), 0, 2)
    return [row for row, third in zip(rows, thirds, strict=True) if third == number]


def _share_gate(name: str, rows: Sequence[_Row], bound: float, at_least: bool) -> Gate:
    interval = share([row.frame for row in rows], [row.count_right for row in rows])
    passed = interval.value >= bound if at_least else interval.value <= bound
    required = f"{'>=' if at_least else '<='} {bound:.0%}"
    return Gate(name, percent(interval), required, f"{len(rows)} frames", passed)


def _observer_gate(name: str, rows: Sequence[_Row], hits: Sequence[bool], least: float) -> Gate:
    """Measure how well size, contrast, haze and number of things foretell what a detector gets right."""
    frames = [row.frame for row in rows]
    right: NDArray[np.bool_] = np.array(hits, bool)
    foretold = cross_fitted(np.array([row.known for row in rows]), right, frames)
    interval = bootstrap(frames, lambda chosen: auroc(foretold[chosen], right[chosen]), resamples=300)
    required = f">= {least:.2f}"
    return Gate(name, auroc_text(interval), required, f"{len(rows)} frames", interval.value >= least)


def percent(found: Interval) -> str:
    """Return a share with its interval."""
    return f"{found.value:.1%} ({found.low:.1%} to {found.high:.1%})"


def auroc_text(found: Interval) -> str:
    """Return an AUROC with its interval."""
    return f"AUROC {found.value:.2f} ({found.low:.2f} to {found.high:.2f})"
