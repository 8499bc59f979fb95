"""Loads of a case: rates scaled to the frames of a benchmark, and the budget that follows from them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from nodes.contract.evaluation import JobCase, JobPass, JobRow
from nodes.errors import DataError
from nodes.lab.evaluation.run import _budget, like_its_load, load_of, scaled

FRAMES: Any = [
    SimpleNamespace(pair=SimpleNamespace(frame=frame), whole_bytes=size)
    for frame, size in [("a", 1000), ("a", 1000), ("b", 3000)]
]


def case(load: float | None) -> JobCase:
    rows = [
        JobRow(time_s=0.0, up=True, down_bit_s=8e3, down_delay_s=0.0, up_delay_s=0.0),
        JobRow(time_s=5.0, up=False, down_bit_s=0.0, down_delay_s=0.0, up_delay_s=0.0),
    ]
    passes = [JobPass(name="p", rows=rows, end_s=10.0, captures_s=[0.0])]
    return JobCase(name="orbit", rate_bit_s=8e3, load=load, passes=passes)


def test_rates_are_scaled_to_the_load_each_frame_counting_once() -> None:
    assert load_of(case(None), FRAMES) == pytest.approx(4000 / 5000)
    assert scaled(case(None), FRAMES) == case(None)
    made = scaled(case(2.0), FRAMES)
    assert load_of(made, FRAMES) == pytest.approx(2.0)
    assert made.rate_bit_s == made.passes[0].rows[0].down_bit_s == pytest.approx(3200.0)


def test_thresholds_are_for_no_more_than_the_links_carry() -> None:
    made = scaled(case(2.0), FRAMES)
    assert _budget(made, 1000.0, 4) == pytest.approx(500.0)
    assert _budget(made, 300.0, 4) == 300.0
    assert _budget(case(None), 1000.0, 4) == 1000.0
    assert _budget(made, None, 4) is None, "the accuracy floor has no budget"


def test_a_part_of_a_load_has_its_rates_and_the_captures_at_which_it_has_frames() -> None:
    whole = case(2.0)
    slots = whole.passes[0].model_copy(update={"captures_s": [float(time_s) for time_s in range(10)]})
    load = scaled(whole.model_copy(update={"passes": [slots]}), FRAMES)
    in_part = slots.model_copy(update={"captures_s": [0.0, 1.0, 2.0, 3.0], "end_s": 4.0})
    part = JobCase(rate_bit_s=8e3, passes=[in_part], part=True, of_load="orbit", begins_s=4.0)
    frames = ["a", "a", "b"]  # two frames over ten slots: at 0 s and 5 s
    made = like_its_load(part, [load], frames, 0)
    assert made.passes[0].captures_s == [1.0]
    assert made.rate_bit_s == made.passes[0].rows[0].down_bit_s == load.rate_bit_s
    alone = JobCase(rate_bit_s=8e3, passes=[in_part], part=True)
    assert like_its_load(alone, [load], frames, 0) is alone
    late = part.model_copy(update={"begins_s": 6.0})
    with pytest.raises(DataError, match="the load has no frame in this part"):
        like_its_load(late, [load], frames, 0)
