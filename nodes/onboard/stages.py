"""The compact model on one prompt, stage by stage; each stage is computed on request.

    stage 0   the image is encoded: pooled visual features and the prompt, no token yet
    stage k   after k tokens, for each k of the layout up to the answer's length
    END       the complete answer

A satellite stops at its policy's decision; an evaluation goes through all stages once. Both use this module.
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
from nodes.vlm.protocol import StagedModel
from nodes.vlm.token_grid import frame_map
from nodes.vlm.views import ShownFrame

_MAP_PX = 128  # side of the attention map that is divided among regions


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes:
        stage: 0, k or END.
        features: Input of the confidence network.
        logprobs: Log-probabilities of the tokens so far.
    """

    stage: int
    features: Floats
    logprobs: tuple[float, ...]


class StagedAnswer:
    """A session of a model that pauses after each stage; the image is encoded at its creation.

    Args:
        model: The model.
        image: The frame, or its views for this model.
        prompt: The question.
        layout: Grid of regions, and the stages.
        max_new_tokens: Maximum length of the answer.

    Raises:
        ValueError: The model's family cannot be paused.
    """

    def __init__(
        self,
        model: StagedModel,
        image: Image.Image | ShownFrame,
        prompt: str,
        layout: Layout,
        max_new_tokens: int,
    ) -> None:
        self._layout = layout
        self._prompt_features = prompt_features(prompt)
        self._left = list(layout.stage_tokens)
        self._begun = False
        frame = image if isinstance(image, ShownFrame) else ShownFrame.of(image, model.views)
        across, down = _MAP_PX / frame.width, _MAP_PX / frame.height
        whole = (0.0, 0.0, float(frame.width), float(frame.height))
        on_map = [
            (left * across, upper * down, right * across, lower * down)
            for left, upper, right, lower in frame.boxes or [whole]
        ]
        self._session = model.begin(list(frame.images), prompt, boxes=on_map, max_new_tokens=max_new_tokens)

    def __enter__(self) -> StagedAnswer:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.__exit__()

    def advance(self) -> Stage:
        """Compute the next stage; END is followed by END."""
        session = self._session
        if not self._begun:
            self._begun = True
            return self._stage(0, np.concatenate([session.visual_features, self._prompt_features]))
        while self._left:
            tokens = self._left.pop(0)
            session.decode(tokens - len(session.tokens))
            if len(session.tokens) >= tokens:
                return self._stage(tokens, self._token_features())
            self._left.clear()  # the answer is too short for this stage and for the later ones
        session.decode()
        return self._stage(END, self._token_features())

    def attention(self) -> NDArray[np.float32]:
        """Return the attention from the prompt to each region; costs one more prefill.

        It is that of the prompt's last token, which attends to all others and from which the answer is
        decoded.

        Returns:
            float32[layers, heads, regions].

        Raises:
            ValueError: The family's image tokens cannot be identified.
        """
        rows, columns = self._layout.rows, self._layout.columns
        weights = self._session.attention()[:, :, -1]
        grids = self._session.grids
        return np.asarray(
            [
                [scores_from_map(frame_map(head, grids, _MAP_PX, _MAP_PX), rows, columns) for head in layer]
                for layer in weights
            ],
            dtype=np.float32,
        )

    def answer(self) -> Answer:
        """Return the answer as decoded so far."""
        return self._session.answer()

    def _stage(self, stage: int, features: Floats) -> Stage:
        # The precision in which outcomes are stored, so that a replay sees identical numbers.
        rounded = features.astype(np.float32).astype(np.float64)
        return Stage(stage, rounded, tuple(self._session.logprobs))

    def _token_features(self) -> Floats:
        """Return features of the last token's hidden state, the probabilities and the prompt."""
        session = self._session
        if not session.tokens:  # an empty answer: the model ended at once
            width = int(session.visual_features.shape[0]) // 2
            return np.concatenate([np.zeros(width), token_features([]), self._prompt_features])
        state = session.hidden_states[-1]
        return np.concatenate([state, token_features(session.logprobs), self._prompt_features])


def reading_at(stage: int, logprobs: Sequence[float], confidence: float | None, text: str) -> Reading:
    """Return the reading of a stage for a policy.

    Args:
        stage: 0, k or END.
        logprobs: Log-probabilities of the tokens so far.
        confidence: The network's confidence at this stage; None without a network.
        text: The complete answer; only used at END.
    """
    unknown = bool(text) and not logprobs  # a server that reports none
    return Reading(
        stage=max(len(logprobs), 1) if stage == END else stage,
        finished=stage == END,
        confidence=confidence,
        token_confidence=token_confidence(logprobs) if stage and not unknown else None,
        answer=text if stage == END else "",
    )
