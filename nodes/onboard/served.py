"""The compact model's work on one frame behind a server, with the stages of `nodes.onboard.stages`.

A server gives text, and log-probabilities if it has them; neither hidden states nor attention, and it cannot
be paused. So stage 0 comes before the request and tells nothing. The whole answer is computed by one request
at the next stage, which a policy that stops early does not spare. Regions are scored by their detail
(nodes/regions/detail.py) instead of by attention.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from nodes.onboard.confidence import END
from nodes.onboard.layout import Layout
from nodes.onboard.stages import Stage
from nodes.policies import BASELINES, FramePolicy
from nodes.regions.detail import detail_scores
from nodes.vlm.answer import Answer, ServerAnswer, Timings
from nodes.vlm.openai import ServerModel
from nodes.vlm.protocol import AnsweringModel

_NO_FEATURES = np.zeros(0)
_NOTHING = ServerAnswer("", (), Timings(0.0, 0.0, 0.0, 0.0))


def lacks(model: Any, policy: FramePolicy) -> str | None:
    """Return in words what a policy has to do without, as the model is behind a server; None if nothing."""
    if not isinstance(model, ServerModel):
        return None
    found = []
    if type(policy) not in BASELINES.values():
        found.append(
            "no hidden states and no attention: confidence is that of the tokens, and regions are chosen by "
            "their detail"
        )
    if model.gives_logprobs is False:
        found.append("no log-probabilities: the confidence in its answers is unknown")
    return "; ".join(found) or None


class ServedAnswer:
    """Stages of an answer of a model that answers only as a whole."""

    def __init__(
        self, model: AnsweringModel, image: Image.Image, prompt: str, layout: Layout, max_new_tokens: int
    ) -> None:
        self._model, self._image, self._prompt = model, image, prompt
        self._layout, self._max_new_tokens = layout, max_new_tokens
        self._left = list(layout.stage_tokens)
        self._begun = False
        self._answer: Answer | ServerAnswer | None = None

    def __enter__(self) -> ServedAnswer:
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing: a server keeps nothing."""

    def advance(self) -> Stage:
        """Return the next stage; END is followed by END. Raises ServerUnavailableError and ModelError."""
        if not self._begun:
            self._begun = True
            return Stage(0, _NO_FEATURES, ())
        if self._answer is None:
            self._answer = self._model.answer(self._image, self._prompt, max_new_tokens=self._max_new_tokens)
        logprobs = tuple(self._answer.token_logprobs)
        while self._left:
            if len(logprobs) >= (tokens := self._left.pop(0)):
                return Stage(tokens, _NO_FEATURES, logprobs[:tokens])
        return Stage(END, _NO_FEATURES, logprobs)

    def scores(self) -> list[float]:
        """Return the relevance of each region: its detail."""
        return detail_scores(self._image, self._layout.rows, self._layout.columns)

    def answer(self) -> Answer | ServerAnswer:
        """Return the whole answer; an empty one before it was requested."""
        return self._answer or _NOTHING
