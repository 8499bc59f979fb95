"""Frames are dealt to the passes of a case."""

from __future__ import annotations

import pytest

from nodes.contract.evaluation import JobCase, JobPass, JobRow
from nodes.errors import DataError
from nodes.lab.evaluation.dealing import check_captures, deal, shares_of

ROW = JobRow(time_s=0.0, up=True, down_bit_s=1e6, down_delay_s=0.0, up_delay_s=0.0)


def case(*sizes: int, part: bool = False) -> JobCase:
    passes = [
        JobPass(name=f"p{number}", rows=[ROW], end_s=100.0, captures_s=[2.0 * index for index in range(size)])
        for number, size in enumerate(sizes)
    ]
    return JobCase(rate_bit_s=1e6, passes=passes, part=part)


def test_each_pass_gets_equally_many_frames_or_all_that_fit() -> None:
    assert shares_of(548, [260, 285, 290]) == [183, 183, 182]
    assert shares_of(10, [2, 100, 3]) == [2, 5, 3]
    assert shares_of(9, [2, 3, 1]) == [2, 3, 1]


def test_all_prompts_of_a_frame_are_asked_at_its_capture() -> None:
    frames = ["a", "b", "a", "c", "d", "d", "a"]
    dealt = deal(frames, case(10, 20), 0)
    assert sorted(index for pass_ in dealt for _, index in pass_) == list(range(7))
    assert [len({time_s for time_s, _ in pass_}) for pass_ in dealt] == [2, 2]
    for pass_ in dealt:
        at = {}
        for time_s, index in pass_:
            assert at.setdefault(frames[index], time_s) == time_s
    assert [time_s for time_s, _ in deal(["a", "b"], case(10), 0)[0]] == [0.0, 10.0], "spread over the pass"
    assert deal(frames, case(10, 20), 0) == dealt != deal(frames, case(10, 20), 1)


def test_a_part_takes_its_captures_in_order() -> None:
    (dealt,) = deal([f"f{number}" for number in range(9)], case(4, part=True), 0)
    assert [time_s for time_s, _ in dealt] == [0.0, 2.0, 4.0, 6.0]


def test_too_few_captures_are_refused() -> None:
    check_captures(case(3, 3), 6)
    check_captures(case(3, part=True), 6)
    with pytest.raises(DataError, match="7 frames, but the passes have 6 captures"):
        check_captures(case(3, 3), 7)
