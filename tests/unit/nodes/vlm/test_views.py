"""Views of a frame for a model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from nodes.vlm.views import MAX_TILES, Views, read_views, shown

SIDES_PX = st.integers(1, 300)


@settings(deadline=None, max_examples=60)
@given(SIDES_PX, SIDES_PX, SIDES_PX, SIDES_PX)
def test_tiles_cover_a_frame_of_any_shape_once(
    width: int, height: int, tile_px: int, overview_px: int
) -> None:
    views = Views(tile_px, overview_px)
    images, boxes = views.of(Image.new("L", (width, height)))
    assert len(images) == len(boxes)
    assert boxes[-1] == (0, 0, width, height)
    tiles = boxes[:-1] or boxes
    assert len(tiles) <= max(1, MAX_TILES)
    covered = np.zeros((height, width), dtype=np.int64)
    for left, top, right, bottom in tiles:
        covered[int(top) : int(bottom), int(left) : int(right)] += 1
    assert (covered == 1).all()
    assert max(images[-1].size) <= overview_px
    assert all(max(image.size) <= max(tile_px, overview_px) for image in images)


def test_without_tiles_the_overview_is_all() -> None:
    images, boxes = Views(None, 224).of(Image.new("RGB", (1344, 672)))
    assert [image.size for image in images] == [(224, 112)]
    assert boxes == [(0, 0, 1344, 672)]


def test_a_model_without_views_gets_the_frame_itself(tmp_path: Path) -> None:
    frame = Image.new("RGB", (500, 400))
    images, boxes = shown(frame, read_views(tmp_path))
    assert images == [frame]
    assert boxes is None


@pytest.mark.parametrize("text", ["{", "[]", '{"tile_px": 3}', '{"tile_px": "a", "overview_px": 2}'])
def test_a_file_that_says_no_views_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "views.json").write_text(text)
    with pytest.raises(ValueError, match=r"views\.json") as caught:
        read_views(tmp_path)
    assert "\n" not in str(caught.value)
