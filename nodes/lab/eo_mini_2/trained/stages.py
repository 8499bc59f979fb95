"""The compact model's answers stage by stage, with the features that confidence heads read.

They are computed once, and kept in the model's folder in `stages/NAME.npz`.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nodes.contract.files import write_atomically
from nodes.lab.eo_mini_2.questions import Question, questions
from nodes.lab.eo_mini_2.scene import FRAME_PX, Scene
from nodes.lab.eo_mini_2.trained.outcomes import MOST_TOKENS, Outcome, outcome_of, scenes_sha256, shown
from nodes.onboard.confidence import END, Floats, token_confidence
from nodes.onboard.layout import Layout
from nodes.onboard.stages import StagedAnswer
from nodes.vlm.folder import fingerprint
from nodes.vlm.model import VisionLanguageModel, load_model
from nodes.vlm.views import ShownFrame

LAYOUT = Layout(stage_tokens=(1, 4, 9))
"""Stages after the first token, and after a list's first and second item: four words each, and a mark."""
_FORMAT = "eo-mini-2 stages 1"
Features = dict[int, Floats]


@dataclass(frozen=True)
class StagedOutcome:
    """An answer, and the features of each stage that it reached, by stage."""

    outcome: Outcome
    features: Features

    def token_confidence(self, stage: int) -> float | None:
        """Return the probability of the tokens that a stage has seen; None before the first."""
        seen = self.outcome.logprobs if stage == END else self.outcome.logprobs[:stage]
        return token_confidence(seen) if stage else None


def staged_outcomes_of(
    folder: Path, name: str, scenes: Sequence[Scene], on_frame: Callable[[], None] = lambda: None
) -> list[StagedOutcome]:
    """Return a model's answers about frames: kept ones if model, frames and stages are the same.

    Args:
        folder: The model.
        name: Name of the frames, which names the file.
        scenes: The frames.
        on_frame: Called after each frame.

    Raises:
        ModelError: The model cannot be loaded.
        OSError: The file cannot be written.
    """
    path = folder / "stages" / f"{name}.npz"
    of = {
        "format": _FORMAT,
        "model": fingerprint(folder),
        "frames": scenes_sha256(scenes),
        "stages": list(LAYOUT.stage_tokens),
    }
    if (kept := _read(path, of)) is not None:
        return kept
    model = load_model(folder, threads=1)
    made: list[StagedOutcome] = []
    for scene in scenes:
        made += _answered(model, scene)
        on_frame()
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, _packed(made, of))
    return made


def _answered(model: VisionLanguageModel, scene: Scene) -> list[StagedOutcome]:
    images, boxes = shown(scene, model.views)
    frame = ShownFrame(images, boxes, FRAME_PX, FRAME_PX)
    return [_asked(model, scene, frame, question) for question in questions(scene)]


def _asked(model: VisionLanguageModel, scene: Scene, frame: ShownFrame, question: Question) -> StagedOutcome:
    features: Features = {}
    with StagedAnswer(model, frame, question.prompt, LAYOUT, MOST_TOKENS) as staged:
        while END not in features:
            stage = staged.advance()
            features[stage.stage] = stage.features
        answer = staged.answer()
    return StagedOutcome(outcome_of(scene, question, answer.text, answer.token_logprobs), features)


def _packed(made: Sequence[StagedOutcome], of: Mapping[str, object]) -> bytes:
    """Return the file: JSON of the answers, and by stage which answers reached it and their features."""
    parts: dict[str, Any] = {
        "about": np.array(json.dumps({**of, "rows": [asdict(one.outcome) for one in made]}))
    }
    for stage in sorted({stage for one in made for stage in one.features}):
        rows = [row for row, one in enumerate(made) if stage in one.features]
        parts[f"{stage} rows"] = np.array(rows)
        parts[f"{stage} features"] = np.stack([made[row].features[stage] for row in rows]).astype(np.float32)
    file = io.BytesIO()
    np.savez(file, **parts)
    return file.getvalue()


def _read(path: Path, of: Mapping[str, object]) -> list[StagedOutcome] | None:
    try:
        with np.load(path, allow_pickle=False) as parts:
            about = json.loads(str(parts["about"]))
            if {name: about[name] for name in of} != of:
                return None
            features: list[Features] = [{} for _ in about["rows"]]
            for key in parts.files:
                if key.endswith(" features"):
                    stage = int(key.split()[0])
                    for row, values in zip(parts[f"{stage} rows"], parts[key], strict=True):
                        features[int(row)][stage] = values.astype(np.float64)
        outcomes = [Outcome(**row | {"logprobs": tuple(row["logprobs"])}) for row in about["rows"]]
        return [StagedOutcome(*one) for one in zip(outcomes, features, strict=True)]
    except (OSError, ValueError, TypeError, KeyError, zipfile.BadZipFile):
        return None
