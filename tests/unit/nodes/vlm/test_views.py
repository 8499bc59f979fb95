"""Views of a frame for a model."""

from __future__ import annotations

import json
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


def test_tiles_with_places_have_names_that_tell_where_they_lie() -> None:
    views = Views(100, 200, places=True)
    images, boxes = views.of(Image.new("RGB", (400, 300)))
    names = views.names_of(boxes)
    assert len(images) == len(names) == 12 + 4
    assert names[:2] == ["<row_1_col_1>", "<row_1_col_2>"]
    assert names[11] == "<row_3_col_4>"
    assert names[-4:] == ["<overview_1_1>", "<overview_1_2>", "<overview_2_1>", "<overview_2_2>"]
    assert set(names) <= set(views.place_names)
    left_out = [boxes[5], *boxes[12:]]
    assert views.names_of(left_out) == [names[5], *names[12:]]


def test_tiles_that_were_not_received_are_left_out_and_the_overview_stays() -> None:
    views = Views(100, 200, places=True)
    frame = Image.new("RGB", (400, 400))
    _, boxes = views.of(frame, [(200, 0, 400, 200)])
    assert views.names_of(boxes)[:4] == ["<row_1_col_3>", "<row_1_col_4>", "<row_2_col_3>", "<row_2_col_4>"]
    assert len(boxes) == 4 + 4
    assert len(views.of(frame, [])[1]) == 4
    assert len(Views(100, 200).of(frame, [])[1]) == 16 + 1  # without names, a tile left out would move others


def test_a_large_frame_has_as_many_tiles_as_places_have_names() -> None:
    views = Views(8, 32, places=True)
    images, boxes = views.of(Image.new("RGB", (300, 300)))
    assert len(images) <= 16**2 + 4**2
    assert set(views.names_of(boxes)) <= set(views.place_names)


def test_views_are_written_as_they_are_read(tmp_path: Path) -> None:
    for views in (Views(168, 224), Views(None, 224), Views(168, 672, places=True)):
        (tmp_path / "views.json").write_text(json.dumps(views.to_json()))
        assert read_views(tmp_path) == views
