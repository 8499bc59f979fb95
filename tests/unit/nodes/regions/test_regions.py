"""Regions: choice within a budget, message and its inverse, drawing, CLIP as a scorer."""

from __future__ import annotations

import io
import itertools
import struct
import tracemalloc

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from nodes.errors import PayloadError
from nodes.onboard.message import read_regions
from nodes.regions import Grid, choose, pack, scores_from_map, unpack
from nodes.regions.drawing import draw_kept
from nodes.regions.payload import MAX_BYTES, Settings, difference, overview_size, sent_reductions

WORTH = (0.4, 1.0)


def picture(width_px: int = 160, height_px: int = 120, seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize((width_px, height_px), Image.Resampling.BICUBIC)
    grain = rng.normal(0, 8, (height_px, width_px, 1))  # grey: JPEG halves colours
    return Image.fromarray(np.clip(np.asarray(smooth) + grain, 0, 255).astype(np.uint8))


@given(
    width_px=st.integers(1, 400),
    height_px=st.integers(1, 400),
    rows=st.integers(1, 9),
    columns=st.integers(1, 9),
)
def test_a_grid_tiles_its_frame(width_px: int, height_px: int, rows: int, columns: int) -> None:
    if rows > height_px or columns > width_px:
        with pytest.raises(ValueError, match="no grid"):
            Grid(width_px, height_px, rows, columns)
        return
    grid = Grid(width_px, height_px, rows, columns)
    covered = np.zeros((height_px, width_px), dtype=int)
    for index in range(len(grid)):
        left, upper, right, lower = grid.box(index)
        covered[upper:lower, left:right] += 1
    assert (covered == 1).all()


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 6), st.integers(1, 6), st.integers(0, 99))
def test_scores_keep_the_sum_of_their_map(high: int, wide: int, rows: int, columns: int, seed: int) -> None:
    over_frame = np.random.default_rng(seed).random((high, wide))
    scores = scores_from_map(over_frame, rows, columns)
    assert scores.shape == (rows * columns,)
    assert scores.sum() == pytest.approx(over_frame.sum())


def test_scores_divide_a_cell_that_two_regions_share() -> None:
    over_frame = np.array([[0.0, 6.0, 0.0]])  # three columns over two regions: the middle one is shared
    assert scores_from_map(over_frame, 1, 2).tolist() == [3.0, 3.0]
    assert scores_from_map(np.eye(4), 2, 2).tolist() == [2.0, 0.0, 0.0, 2.0]


offers = st.lists(
    st.tuples(
        st.floats(0, 10, allow_nan=False), st.tuples(st.integers(1, 50), st.integers(1, 50)).map(sorted)
    ),
    min_size=1,
    max_size=7,
)


@given(offers, st.integers(0, 300))
def test_a_choice_fits_and_is_near_the_best(regions: list[tuple[float, list[int]]], budget: int) -> None:
    scores = [score for score, _ in regions]
    sizes = [size for _, size in regions]
    chosen = choose(scores, sizes, WORTH, budget)

    def bytes_and_value(levels: tuple[int, ...]) -> tuple[int, float]:
        taken = [(i, level - 1) for i, level in enumerate(levels) if level]
        return sum(sizes[i][k] for i, k in taken), sum(scores[i] * WORTH[k] for i, k in taken)

    assert (chosen.size_bytes, pytest.approx(chosen.value)) == bytes_and_value(chosen.levels)
    assert chosen.size_bytes <= budget
    assert choose(scores, sizes, WORTH, budget) == chosen
    every = (bytes_and_value(levels) for levels in itertools.product(range(3), repeat=len(scores)))
    best = max(value for size, value in every if size <= budget)
    largest_step = max(scores) * max(WORTH)
    assert chosen.value >= best - largest_step - 1e-9


def test_a_choice_by_hand() -> None:
    sizes = [[10, 40], [10, 40], [10, 40]]
    assert choose([5, 1, 0], sizes, WORTH, 0).levels == (0, 0, 0)
    assert choose([5, 1, 0], sizes, WORTH, 10).levels == (1, 0, 0)
    assert choose([5, 1, 0], sizes, WORTH, 40).levels == (2, 0, 0)
    assert choose([5, 1, 0], sizes, WORTH, 50).levels == (2, 1, 0)
    assert choose([5, 1, 0], sizes, WORTH, 1000).levels == (2, 2, 0)  # no score, no bytes
    assert choose([1, 1, 1], sizes, WORTH, 10).levels == (1, 0, 0)  # the first of equals


@pytest.mark.parametrize("scores", [[-1.0], [float("nan")], [1.0, 2.0]])
def test_a_choice_refuses_scores_that_are_none(scores: list[float]) -> None:
    with pytest.raises(ValueError, match=r"score|match"):
        choose(scores, [[1, 2]], WORTH, 10)


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(["JPEG", "WEBP"]),
    st.integers(0, 40_000),
    st.integers(17, 200),
    st.integers(17, 200),
    st.integers(0, 5),
)
def test_a_message_and_its_inverse(codec: str, budget: int, width_px: int, height_px: int, seed: int) -> None:
    frame = picture(width_px, height_px, seed)
    grid = Grid(width_px, height_px, 3, 4)
    scores = np.random.default_rng(seed).random(12)
    style = Settings(overview_px=48, codec=codec)  # type: ignore[arg-type]
    packed = pack(frame, grid, scores, budget, style)
    assert pack(frame, grid, scores, budget, style) == packed
    opened = unpack(packed.data)
    assert opened.grid == grid
    assert opened.overview.size == overview_size(grid, 48)
    assert {r.index: r.reduction for r in opened.regions} == {
        index: reduction for index, reduction in enumerate(packed.reductions) if reduction
    }
    assert len(packed.data) <= budget or not opened.regions
    assert opened.compose().size == frame.size


def test_what_is_kept_comes_back_and_what_is_dropped_is_the_overview() -> None:
    frame = picture(320, 320)
    grid = Grid(320, 320)
    scores = [0.0] * 16
    scores[6] = 1.0
    opened = unpack(pack(frame, grid, scores, 10**6, Settings(overview_px=40, quality=95)).data)
    assert [region.index for region in opened.regions] == [6]
    composed = opened.compose()
    errors = [difference(composed.crop(grid.box(i)), frame.crop(grid.box(i))) for i in range(16)]
    assert errors[6] < 2.5
    assert min(error for i, error in enumerate(errors) if i != 6) > 3


def test_more_bytes_never_make_a_worse_picture_of_the_best_region() -> None:
    frame = picture(320, 320)
    grid = Grid(320, 320)
    scores = np.arange(16) / 16
    reductions = [pack(frame, grid, scores, budget).reductions[15] for budget in (0, 9_000, 40_000, 200_000)]
    rank = {0: 0, 2: 1, 1: 2}
    assert [rank[r] for r in reductions] == sorted(rank[r] for r in reductions)
    assert reductions[-1] == 1


def sent() -> list[bytes]:
    """Return the pieces of a message."""
    return list(pack(picture(), Grid(160, 120), [float(index) for index in range(16)], 30_000).pieces)


def version_1(pieces: list[bytes], **changes: object) -> bytes:
    """Return the message as older versions wrote it."""
    head, *regions = map(msgpack.unpackb, pieces)
    return bytes(msgpack.packb(head | {"v": 1, "regions": sorted(regions)} | changes))


def broken(**changes: object) -> bytes:
    head, *regions = sent()
    return bytes(msgpack.packb(msgpack.unpackb(head) | changes)) + b"".join(regions)


def with_regions(*regions: object) -> bytes:
    return sent()[0] + b"".join(map(msgpack.packb, regions))


def test_malformed_messages_are_one_clear_error() -> None:
    first = msgpack.unpackb(sent()[1])
    cases = {
        "not a message": b"\xc1",
        "not a message of": msgpack.packb([1]),
        "version 3": broken(v=3),
        "size is not": broken(size=[10]),
        "whole numbers": broken(size=[1e9, 3]),
        "pixels": broken(size=[20_000, 20_000]),
        "no grid": broken(grid=[500, 500]),
        "overview is not an image": broken(overview=None),
        "overview cannot": broken(overview=b"\xff\xd8\xff"),
        "overview has": broken(size=[20, 20], grid=[2, 2]),
        "ends within a piece": b"".join(sent())[:-1],
        "region cannot be read": with_regions() + b"\xc1",
        "index, reduction": with_regions([1, 2]),
        "index is not": with_regions([16, *first[1:]]),
        "reduction is not": with_regions([0, 0, first[2]]),
        "expected": with_regions([0, first[1] + 1, first[2]]),
        "is repeated": with_regions(first, first),
        "not a list": version_1(sent(), regions=3),
        "not in order": version_1(sent(), regions=[first, first]),
        "more bytes follow": version_1(sent()) + b"\xc0",
    }
    for text, data in cases.items():
        with pytest.raises(PayloadError, match=text) as caught:
            unpack(data)
        assert "\n" not in str(caught.value)


def test_a_message_of_an_older_version_gives_the_same_picture() -> None:
    pieces = sent()
    old, new = unpack(version_1(pieces)), unpack(b"".join(pieces))
    assert len(old.regions) == len(pieces) - 1 > 2
    assert difference(old.compose(), new.compose()) == 0.0


def test_the_first_pieces_of_a_message_are_a_message_with_the_most_relevant_regions() -> None:
    pieces = sent()
    every = [region.index for region in unpack(b"".join(pieces)).regions]
    assert every == sorted(every, reverse=True), "scores rise with the index"
    for count in range(1, len(pieces)):
        assert [region.index for region in unpack(b"".join(pieces[:count])).regions] == every[: count - 1]


def test_messages_of_one_frame_have_equal_pieces_for_equal_regions() -> None:
    frame, grid = picture(), Grid(160, 120)
    one = pack(frame, grid, [float(index) for index in range(16)], 10**6).pieces
    other = pack(frame, grid, [16.0 - index for index in range(16)], 10**6).pieces
    assert one[0] == other[0]
    common = set(one) & set(other)
    assert len(common) == len([*one, *other]) - len({*one, *other})
    assert len(common) > 10


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 255))
def test_a_damaged_message_gives_a_message_or_one_error(place: int, value: int) -> None:
    data = bytearray(pack(picture(), Grid(160, 120), [1.0] * 16, 12_000).data)
    data[place % len(data)] = value
    try:
        unpack(bytes(data))
    except PayloadError as error:
        assert "\n" not in str(error)


def test_a_drawing_frames_what_was_kept() -> None:
    grid = Grid(160, 120)
    scores = [0.0] * 16
    scores[5] = 1.0
    drawing = draw_kept(unpack(pack(picture(), grid, scores, 10**5).data), scores, side_px=320)
    assert drawing.size == (320, 240)
    left, upper, *_ = (edge * 2 for edge in grid.box(5))
    assert drawing.getpixel((left + 20, upper + 1)) == (80, 220, 100)
    assert np.asarray(drawing.crop((2, 2, 70, 50)).convert("L")).mean() < 80  # dimmed


class Endless(io.BytesIO):
    """A file of nothing but zeros, however much is asked for."""

    def read(self, size: int | None = -1, /) -> bytes:
        assert size is not None and 0 <= size <= 2 * MAX_BYTES, "more than a message has"
        return bytes(size)


def test_a_message_of_any_size_takes_little_memory() -> None:
    with pytest.raises(PayloadError, match=f"{MAX_BYTES + 1} bytes; at most {MAX_BYTES} are allowed"):
        read_regions(Endless())
    bombs = [b"\xdd" + struct.pack(">I", 4_000_000) + b"\xc0" * 4_000_000, b"\x91" * 4_000_000]
    bombs.append(b"\x81\xa1t" + bombs[0])
    for bomb in bombs:
        tracemalloc.start()
        try:
            with pytest.raises(PayloadError, match="not a message of regions: "):
                unpack(bomb)
            assert tracemalloc.get_traced_memory()[1] < 2 * len(bomb), "an entry of a byte takes eight"
        finally:
            tracemalloc.stop()


def test_what_of_each_region_is_in_a_message_can_be_read_without_its_images() -> None:
    packed = pack(picture(), Grid(160, 120, 2, 2), [0.1, 0.5, 0.2, 0.2], 6000)
    assert any(packed.reductions) and not all(packed.reductions)
    assert sent_reductions(packed.data) == ((2, 2), list(packed.reductions))
