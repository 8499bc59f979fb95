"""A model's answers about frames. They are kept beside the model and computed again if anything changed."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nodes.contract.files import write_atomically
from nodes.lab.eo_mini_2.answers import GOOD_F1, score
from nodes.lab.eo_mini_2.questions import Question, questions
from nodes.lab.eo_mini_2.regular.tiles import (
    OVERVIEW_PX,
    OVERVIEW_SIDE,
    OVERVIEW_STEP,
    SIDE,
    TILE_PX,
    rendered,
    window_of,
)
from nodes.lab.eo_mini_2.render import render
from nodes.lab.eo_mini_2.scene import FRAME_PX, REDUCED_PX, Scene, to_json
from nodes.onboard.confidence import Floats, prompt_features, token_confidence
from nodes.vlm.folder import fingerprint
from nodes.vlm.model import VisionLanguageModel, load_model
from nodes.vlm.token_grid import Box
from nodes.vlm.views import Views

MOST_TOKENS = 48
_FORMAT = "eo-mini-2 outcomes 1"
_DIGITS = 4


@dataclass(frozen=True)
class Outcome:
    """A model's answer to one prompt about a frame.

    Attributes:
        frame: Name of the frame.
        usable: Whether anything can be seen in it.
        length_px: Length on which its things are based.
        kind: Kind of the prompt.
        prompt: Its wording.
        truth: The right answer.
        answer: The model's answer.
        logprobs: Log-probability of each token of the answer.
    """

    frame: str
    usable: bool
    length_px: float
    kind: str
    prompt: str
    truth: str
    answer: str
    logprobs: tuple[float, ...]

    @property
    def score(self) -> float:
        """Item F1 of a list, equality of another answer."""
        return score(self.answer, self.truth, self.kind)

    @property
    def right(self) -> bool:
        """Whether the score is that of a right answer: a list need not be perfect."""
        return self.score >= (GOOD_F1 if self.kind.startswith("list") else 1)

    @property
    def confidence(self) -> float:
        """Geometric mean of its tokens' probabilities."""
        return token_confidence(self.logprobs)


@dataclass(frozen=True)
class Outcomes:
    """A model's answers about frames.

    Attributes:
        rows: The answers.
        seen: Pooled visual features of each frame at stage 0, by its name.
    """

    rows: tuple[Outcome, ...]
    seen: dict[str, tuple[float, ...]]

    def features(self) -> Floats:
        """Return the features of stage 0 of each answer: those of the image, and of the prompt."""
        return np.stack(
            [np.concatenate([self.seen[row.frame], prompt_features(row.prompt)]) for row in self.rows]
        )


def outcomes_of(
    folder: Path,
    name: str,
    scenes: Sequence[Scene],
    on_frame: Callable[[], None] = lambda: None,
    *,
    keep: bool = True,
) -> Outcomes:
    """Return a model's answers about frames: kept ones if model and frames are the same.

    Args:
        folder: The model.
        name: Name of the frames, which names the file.
        scenes: The frames.
        on_frame: Called after each frame.
        keep: Write answers that were computed to `outcomes-NAME.json` in the model's folder.

    Raises:
        ModelError: The model cannot be loaded.
        OSError: The file cannot be written.
    """
    path = folder / f"outcomes-{name}.json"
    of = {"format": _FORMAT, "model": fingerprint(folder), "frames": scenes_sha256(scenes)}
    if kept := _read(path, of):
        return kept
    made = _answered(load_model(folder, threads=1), scenes, on_frame)
    if keep:
        content = of | {"rows": [asdict(row) for row in made.rows], "seen": made.seen}
        write_atomically(path, json.dumps(content, separators=(",", ":")) + "\n")
    return made


def outcome_of(scene: Scene, question: Question, answer: str, logprobs: Sequence[float]) -> Outcome:
    """Return the outcome of a prompt about a scene."""
    return Outcome(
        scene.name,
        scene.condition == "usable",
        scene.length_px,
        question.kind,
        question.prompt,
        question.truth,
        answer,
        tuple(round(min(0.0, value), _DIGITS) for value in logprobs),
    )


def scenes_sha256(scenes: Sequence[Scene]) -> str:
    """Return a hash of frames and prompts."""
    digest = hashlib.sha256()
    for scene in scenes:
        digest.update(to_json(scene).encode())
        digest.update(repr(questions(scene)).encode())
    return digest.hexdigest()


def _read(path: Path, of: dict[str, str]) -> Outcomes | None:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if {name: content[name] for name in of} != of:
            return None
        rows = tuple(Outcome(**row | {"logprobs": tuple(row["logprobs"])}) for row in content["rows"])
        return Outcomes(rows, {frame: tuple(values) for frame, values in content["seen"].items()})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _answered(model: VisionLanguageModel, scenes: Sequence[Scene], on_frame: Callable[[], None]) -> Outcomes:
    if model.views and model.views.places:
        from nodes.lab.eo_mini_2.trained.tile_memory import remember_tiles  # imports torch

        remember_tiles(model.network.base_model)
    rows: list[Outcome] = []
    seen: dict[str, tuple[float, ...]] = {}
    for scene in scenes:
        images, boxes = shown(scene, model.views)
        for question, answer, logprobs, features in _asked(model, scene, images, boxes):
            seen[scene.name] = tuple(round(float(value), _DIGITS) for value in features)
            rows.append(outcome_of(scene, question, answer, logprobs))
        on_frame()
    return Outcomes(tuple(rows), seen)


def _asked(
    model: VisionLanguageModel, scene: Scene, images: Sequence[Image.Image], boxes: Sequence[Box]
) -> Iterator[tuple[Question, str, Sequence[float], Sequence[float]]]:
    for question in questions(scene):
        with model.begin(images, question.prompt, boxes=boxes, max_new_tokens=MOST_TOKENS) as session:
            session.decode()
            yield question, session.answer().text, session.logprobs, session.visual_features.tolist()


def shown(scene: Scene, views: Views | None) -> tuple[list[Image.Image], list[Box]]:
    """Return a frame as a model sees it, drawn without drawing the whole frame at native scale.

    Raises:
        ValueError: The model sees frames in views that the benchmark does not draw.
    """
    if views == Views(TILE_PX, OVERVIEW_PX, places=True):
        grids = [(SIDE, 1), (OVERVIEW_SIDE, OVERVIEW_STEP)]
        windows = [window_of(*divmod(n, side), step) for side, step in grids for n in range(side**2)]
        boxes = [
            (
                float(one.left_px),
                float(one.top_px),
                float(one.left_px + TILE_PX * one.step),
                float(one.top_px + TILE_PX * one.step),
            )
            for one in windows
        ]
        return [Image.fromarray(pixels) for pixels in rendered(scene, windows)], boxes
    if views == Views(None, REDUCED_PX):
        return [Image.fromarray(render(scene))], [(0.0, 0.0, float(FRAME_PX), float(FRAME_PX))]
    raise ValueError(f"a model of eo-mini-2 sees the frame at {REDUCED_PX} px, or in tiles: not in {views}")


def quarter(length_px: float, limits_px: tuple[float, float]) -> int:
    """Return the quarter, 0 to 3, of a range of lengths by its logarithm."""
    low, high = (math.log(limit) for limit in limits_px)
    return int(np.clip((math.log(length_px) - low) / (high - low) * 4, 0, 3))
