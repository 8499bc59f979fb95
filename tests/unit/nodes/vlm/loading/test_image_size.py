"""Images are brought between the least and the most pixels, and keep their shape."""

from __future__ import annotations

import pytest
from PIL import Image

from nodes.contract.models.options import ModelOptions
from nodes.models import COMPACT
from nodes.vlm.loading.image_size import sized
from nodes.vlm.model import load_model


@pytest.mark.parametrize(
    ("size", "least", "most"),
    [((4000, 3000), None, 200_000), ((40, 30), 200_000, None), ((4000, 30), None, 784), ((7, 7), 1000, 1000)],
)
def test_an_image_of_another_size_gets_the_nearest(
    size: tuple[int, int], least: int | None, most: int | None
) -> None:
    (made,) = sized([Image.new("RGB", size)], ModelOptions(min_pixels=least, max_pixels=most))
    area = made.width * made.height
    assert area <= (most or 1 << 40) or area <= (least or 0) * 1.1
    assert area >= (least or most or 0) * 0.8
    assert made.width / made.height == pytest.approx(size[0] / size[1], rel=0.25)


def test_others_stay_as_they_are() -> None:
    image = Image.new("RGB", (100, 100))
    for options in (ModelOptions(), ModelOptions(min_pixels=10_000, max_pixels=10_000)):
        assert sized([image], options)[0] is image


def test_a_model_sees_no_more_than_it_shall() -> None:
    image = Image.effect_noise((224, 224), 50)
    models = [load_model(COMPACT, ModelOptions(model_threads=1, max_pixels=most)) for most in (None, 112**2)]
    whole, small = (model.prepare([image], "?")["pixel_values"] for model in models)
    assert len(whole) == 16**2 and len(small) == 8**2
