"""One pass of the compact model over a pair: answer, stage features, attention per region.

It is a session of `nodes.vlm`, stopped after each stage as on a satellite.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nodes.confidence import END, Floats, prompt_features, token_features
from nodes.regions import scores_from_map
from nodes.session import Session
from nodes.token_grid import frame_map
from nodes.vlm import Answer, VisionLanguageModel

_MAP_PX = 128  # side of the map on which attention is laid before it is divided among regions


@dataclass(frozen=True)
class OnboardPass:
    """The answer, `features` by stage (0, 1, ..., END), `attention` float32[layers, heads, regions]."""

    answer: Answer
    features: dict[int, Floats]
    attention: NDArray[np.float32]


def pass_over(
    model: VisionLanguageModel,
    image: Image.Image,
    prompt: str,
    *,
    rows: int,
    columns: int,
    stage_tokens: Sequence[int] = (1,),
    max_new_tokens: int = 8,
) -> OnboardPass:
    """Answer a prompt, stage by stage.

    Args:
        rows, columns: of the grid of regions over the image.
        stage_tokens: after how many tokens there is a stage, ascending; those that an answer is too short
            for are left out.

    Raises ValueError for families that cannot be paused or whose image tokens cannot be told.
    """
    asked = prompt_features(prompt)
    whole = (0.0, 0.0, float(_MAP_PX), float(_MAP_PX))
    with model.begin(image, prompt, boxes=[whole], max_new_tokens=max_new_tokens) as session:
        features = {0: np.concatenate([session.visual_features, asked])}
        attention = _by_region(session, rows, columns)
        for stage in stage_tokens:
            session.decode(stage - len(session.tokens))
            if len(session.tokens) < stage:
                break
            features[stage] = _at_stage(session, asked)
        session.decode()
        features[END] = _at_stage(session, asked)
        return OnboardPass(session.answer(), features, attention)


def _at_stage(session: Session, asked: Floats) -> Floats:
    """The last token's hidden state, what the probabilities tell, the prompt; zeros before any token."""
    if not session.tokens:  # an empty answer: the model ended at once
        width = int(session.visual_features.shape[0]) // 2
        return np.concatenate([np.zeros(width), token_features([]), asked])
    return np.concatenate([session.hidden_states[-1], token_features(session.logprobs), asked])


def _by_region(session: Session, rows: int, columns: int) -> NDArray[np.float32]:
    """Attention from the prompt to each region, mean over the prompt's tokens."""
    looked = session.attention().mean(2)
    grids = session.grids
    return np.asarray(
        [
            [scores_from_map(frame_map(head, grids, _MAP_PX, _MAP_PX), rows, columns) for head in layer]
            for layer in looked
        ],
        dtype=np.float32,
    )
