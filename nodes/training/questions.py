"""Asks about scenes: every question that a scene can answer clearly, and a fair draw among them.

The truth comes from the land-cover map (coarse kinds) or from what was composited (fine kinds). A question
whose truth is near a limit is not asked. Answers are balanced per question text, because a model that never
looks at the frame would otherwise score by knowing that frames mostly hold some water and no ice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from nodes.training.scene import COVERS, Scene, draw_scene
from nodes.training.sources import Rasters

ASKED_COVERS = COVERS[:-1]
COARSE_KINDS = ("cover", "presence", "comparison", "amount", "half")
FINE_KINDS = ("vessels_present", "vessels_count")
KINDS = (*COARSE_KINDS, *FINE_KINDS)

_COUNT_WORDS = ("zero", "one", "two", "three")
_PRESENT, _ABSENT = 0.08, 0.002
_CLEAR_GAP = 0.15
_BALANCE_SCENES = 1500
_MAIN_SHARE, _MAIN_LEAD = 0.40, 0.10
_AMOUNTS = (("none", -1.0, 0.002), ("some", 0.05, 0.33), ("half", 0.42, 0.58), ("most", 0.70, 2.0))
# Below this share of its commonest rival, an answer is so rare that balancing it would leave hardly a
# question.
_LEAST_ACCEPTANCE = 0.05


@dataclass(frozen=True)
class Question:
    """A prompt, the word that answers it, and the kind it belongs to."""

    kind: str
    prompt: str
    truth: str


def questions_about(scene: Scene) -> list[Question]:
    """List every question that has a clear answer in this scene."""
    found = _about_cover(scene) + _about_halves(scene)
    if scene.vessels is not None:
        count = len(scene.vessels)
        found.append(Question("vessels_present", "Are there ships on the water?", "yes" if count else "no"))
        found.append(Question("vessels_count", "How many ships are on the water?", _COUNT_WORDS[count]))
    return found


def _about_cover(scene: Scene) -> list[Question]:
    share = scene.fractions
    found = []
    first, second = np.argsort(share)[::-1][:2]
    if (
        share[first] >= _MAIN_SHARE
        and share[first] - share[second] >= _MAIN_LEAD
        and first < len(ASKED_COVERS)
    ):
        found.append(Question("cover", "What covers most of this image?", ASKED_COVERS[first]))
    for index, name in enumerate(ASKED_COVERS):
        if share[index] >= _PRESENT or share[index] <= _ABSENT:
            answer = "yes" if share[index] >= _PRESENT else "no"
            found.append(Question("presence", f"Is there any {name} in this image?", answer))
        for word, low, high in _AMOUNTS:
            if low <= share[index] <= high:
                found.append(Question("amount", f"How much of this image is {name}?", word))
        for other, other_name in enumerate(ASKED_COVERS):
            if other != index and abs(share[index] - share[other]) >= _CLEAR_GAP:
                more = name if share[index] > share[other] else other_name
                found.append(Question("comparison", f"Is there more {name} or more {other_name}?", more))
    return found


def _about_halves(scene: Scene) -> list[Question]:
    middle = scene.cover.shape[0] // 2
    found = []
    for index, name in enumerate(ASKED_COVERS):
        here = scene.cover == index
        south_lead = here[middle:].mean() - here[:middle].mean()
        east_lead = here[:, middle:].mean() - here[:, :middle].mean()
        if abs(south_lead) >= _CLEAR_GAP:
            answer = "south" if south_lead > 0 else "north"
            found.append(Question("half", f"Which half has more {name}, north or south?", answer))
        if abs(east_lead) >= _CLEAR_GAP:
            answer = "east" if east_lead > 0 else "west"
            found.append(Question("half", f"Which half has more {name}, west or east?", answer))
    return found


class Balance:
    """How often to ask each question with each truth, so that the text alone tells little."""

    def __init__(self, scenes: Iterable[Scene]) -> None:
        counts = Counter(question for scene in scenes for question in questions_about(scene))
        answers: dict[str, list[int]] = {}
        for question, count in counts.items():
            answers.setdefault(question.prompt, []).append(count)
        self._accept: dict[Question, float] = {}
        for question, count in counts.items():
            rivals = sorted(answers[question.prompt])
            # The rarer of two answers; of many, the lower median, or the rarest would silence the whole kind.
            level = rivals[(len(rivals) - 1) // 2]
            self._accept[question] = (
                0.0 if len(rivals) == 1 else min(1.0, max(_LEAST_ACCEPTANCE, level / count))
            )
        self._commonest = _commonest_answers(counts, self._accept)

    def draw(self, scene: Scene, count: int, rng: np.random.Generator) -> list[Question]:
        """Draw up to `count` questions about the scene: kinds in turn, no prompt twice."""
        kept = [q for q in questions_about(scene) if rng.random() < self._accept.get(q, 0.0)]
        by_kind: dict[str, list[Question]] = {}
        for index in rng.permutation(len(kept)):
            by_kind.setdefault(kept[index].kind, []).append(kept[index])
        kinds = [str(kind) for kind in rng.permutation(sorted(by_kind))]
        drawn: list[Question] = []
        while len(drawn) < count and any(by_kind.values()):
            for kind in kinds:
                if by_kind[kind] and len(drawn) < count:
                    drawn.append(by_kind[kind].pop())
        return drawn

    def blind_answer(self, prompt: str) -> str:
        """The best answer for who reads the prompt and never sees a frame."""
        return self._commonest.get(prompt, "")


def _commonest_answers(counts: Counter[Question], accept: dict[Question, float]) -> dict[str, str]:
    best: dict[str, tuple[float, str]] = {}
    for question, count in counts.items():
        weighed = (count * accept[question], question.truth)
        best[question.prompt] = max(best.get(question.prompt, (0.0, "")), weighed)
    return {prompt: answer for prompt, (_, answer) in best.items()}


def training_balance(rasters: Rasters) -> Balance:
    """Measure on training places how often each question has each answer; always the same."""
    rng = np.random.default_rng((0, 10**9))
    return Balance(draw_scene(rasters, "train", rng, noise=False) for _ in range(_BALANCE_SCENES))


def vocabulary() -> Sequence[str]:
    """Every word and mark that prompts and answers use, lower case, sorted."""
    sentences = (
        "what covers most of this image is there any in how much more or which half has",
        "are ships on the water many how most some none half yes no north south east west ? , .",
        " ".join((*_COUNT_WORDS, *ASKED_COVERS)),
    )
    words = {word for sentence in sentences for word in sentence.split()}
    return sorted(words)
