"""What a model is shown of a received message."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import pytest
from PIL import Image

from nodes.onboard.message import answer_received
from nodes.regions import Grid, pack
from nodes.vlm.answer import Answer, Timings
from nodes.vlm.views import Views

_ANSWER = Answer("two", (1,), (-0.1,), Timings(0, 0, 0, 0))


class _Model:
    """A model, and its session, that note what they are shown."""

    parameters = 1

    def __init__(self, views: Views) -> None:
        self.views, self.names, self.closed = views, list[str](), 0

    def answer(self, images: Any = None, _prompt: str = "", *, max_new_tokens: int = 32) -> Answer:
        self.names = self.names if images is None else ["whole"]
        return _ANSWER

    def begin(self, _images: Any, _prompt: str, *, boxes: Sequence[Any], max_new_tokens: int = 32) -> _Model:
        self.names = self.views.names_of(boxes)
        return self

    def __exit__(self, *_: object) -> None:
        self.closed += 1

    def decode(self) -> None:
        """Decode nothing."""


@pytest.mark.parametrize(
    ("kept", "names"),
    [
        ((1,), ["<row_1_col_3>", "<row_1_col_4>", "<row_2_col_3>", "<row_2_col_4>"]),
        ((), []),
    ],
)
def test_tiles_of_regions_that_were_not_received_are_absent(kept: tuple[int, ...], names: list[str]) -> None:
    frame = Image.effect_noise((160, 160), 80).convert("RGB")
    scores = [1.0 if n in kept else 0.0 for n in range(4)]
    message = io.BytesIO(pack(frame, Grid(160, 160, 2, 2), scores, 100_000).data)
    model = _Model(Views(40, 80, places=True))
    assert answer_received(model, "regions", message, "How many?", 8) == _ANSWER
    assert model.names == [*names, "<overview_1_1>", "<overview_1_2>", "<overview_2_1>", "<overview_2_2>"]
    assert model.closed == 1


def test_a_model_whose_places_have_no_names_gets_the_whole_picture() -> None:
    frame = Image.effect_noise((160, 160), 80).convert("RGB")
    message = io.BytesIO(pack(frame, Grid(160, 160, 2, 2), [0.0] * 4, 100_000).data)
    model = _Model(Views(40, 80))
    answer_received(model, "regions", message, "How many?", 8)
    assert model.names == ["whole"]
