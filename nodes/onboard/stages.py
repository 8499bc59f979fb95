"""The compact model on one prompt, stage by stage; no stage is computed before it is asked for.

    stage 0   the image was seen: pooled visual features and the prompt, no token yet
    stage k   after k tokens, for each k of the layout that the answer is long enough for
    END       the whole answer

A satellite stops where its policy decides; an evaluation goes through all of them once. What both see is
made here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nodes.onboard.confidence import END, Floats, prompt_features, token_confidence, token_features
from nodes.onboard.layout import Layout
from nodes.policies import Reading
from nodes.regions import scores_from_map
from nodes.vlm.answer import Answer
from nodes.vlm.model import VisionLanguageModel
from nodes.vlm.session import Session
from nodes.vlm.token_grid import frame_map
from nodes.vlm.views import shown

_MAP_PX = 128  # side of the map on which attention is laid before it is divided among regions


@dataclass(frozen=True)
class Stage:
    """One stage: which (0, k or END), what the confidence network sees of it, the answer so far."""

    stage: int
    features: Floats
    logprobs: tuple[float, ...]


class StagedAnswer:
    """A session of `nodes.vlm.model` that is stopped after each stage; the image is seen when it is made.

    Raises ValueError for families that cannot be paused.
    """

    def __init__(
        self, model: VisionLanguageModel, image: Image.Image, prompt: str, layout: Layout, max_new_tokens: int
    ) -> None:
        self._layout = layout
        self._asked = prompt_features(prompt)
        self._left = list(layout.stage_tokens)
        self._seen = False
        images, boxes = shown(image, model.views)
        across, down = _MAP_PX / image.width, _MAP_PX / image.height
        on_map = [
            (left * across, upper * down, right * across, lower * down)
            for left, upper, right, lower in boxes or [(0.0, 0.0, float(image.width), float(image.height))]
        ]
        self._session: Session = model.begin(
            list(images), prompt, boxes=on_map, max_new_tokens=max_new_tokens
        )

    def __enter__(self) -> StagedAnswer:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.__exit__()

    def advance(self) -> Stage:
        """Compute the next stage; after END it is END again."""
        session = self._session
        if not self._seen:
            self._seen = True
            return self._stage(0, np.concatenate([session.visual_features, self._asked]))
        while self._left:
            wanted = self._left.pop(0)
            session.decode(wanted - len(session.tokens))
            if len(session.tokens) >= wanted:
                return self._stage(wanted, self._at_token())
            self._left.clear()  # the answer is too short for this stage and for the later ones
        session.decode()
        return self._stage(END, self._at_token())

    def attention(self) -> NDArray[np.float32]:
        """Attention from the prompt to each region, float32[layers, heads, regions]; one more prefill.

        Of the prompt's last token, which the answer comes from and which has read all others. Raises
        ValueError for families whose image tokens cannot be told.
        """
        rows, columns = self._layout.rows, self._layout.columns
        looked = self._session.attention()[:, :, -1]
        grids = self._session.grids
        return np.asarray(
            [
                [scores_from_map(frame_map(head, grids, _MAP_PX, _MAP_PX), rows, columns) for head in layer]
                for layer in looked
            ],
            dtype=np.float32,
        )

    def answer(self) -> Answer:
        """The answer as decoded so far."""
        return self._session.answer()

    def _stage(self, stage: int, features: Floats) -> Stage:
        # In the precision in which outcomes are kept, so that a replay sees the very same numbers.
        kept = features.astype(np.float32).astype(np.float64)
        return Stage(stage, kept, tuple(self._session.logprobs))

    def _at_token(self) -> Floats:
        """The last token's hidden state, what the probabilities tell, the prompt; zeros before any token."""
        session = self._session
        if not session.tokens:  # an empty answer: the model ended at once
            width = int(session.visual_features.shape[0]) // 2
            return np.concatenate([np.zeros(width), token_features([]), self._asked])
        return np.concatenate([session.hidden_states[-1], token_features(session.logprobs), self._asked])


def reading_at(stage: int, logprobs: Sequence[float], confidence: float | None, text: str) -> Reading:
    """What a policy is told of a stage.

    Args:
        logprobs: of the tokens so far.
        confidence: of the network at this stage, None without one.
        text: of the whole answer; told at its end only.
    """
    return Reading(
        stage=max(len(logprobs), 1) if stage == END else stage,
        finished=stage == END,
        confidence=confidence,
        token_confidence=token_confidence(logprobs) if stage else None,
        answer=text if stage == END else "",
    )
