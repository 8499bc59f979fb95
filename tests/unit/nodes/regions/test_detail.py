"""Regions with more detail get higher scores, without any model."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from nodes.regions.detail import detail_scores


def test_the_region_with_detail_is_first() -> None:
    pixels = np.full((400, 600, 3), 90, dtype=np.uint8)
    pixels[100:200, 450:600] = np.random.default_rng(1).integers(0, 255, (100, 150, 3))
    scores = detail_scores(Image.fromarray(pixels), 4, 4)
    assert int(np.argmax(scores)) == 1 * 4 + 3
    assert sum(scores) == pytest.approx(1) and scores[7] > 0.9 and scores[0] == 0


def test_without_any_detail_all_are_alike() -> None:
    assert detail_scores(Image.new("RGB", (50, 50)), 2, 3) == [pytest.approx(1 / 6)] * 6
