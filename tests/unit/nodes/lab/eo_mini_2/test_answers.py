"""Item F1, and the grammar of the answers."""

from __future__ import annotations

import pytest

from nodes.lab.eo_mini_2.answers import NOTHING_VISIBLE, Item, item_f1, items, listed, score, size_of, tokens
from nodes.lab.eo_mini_2.scene import Thing

TRUTH = "ship large upper left ; barge small lower right ; ship large upper left"


def _thing(shape: str, x_px: float, y_px: float, length_px: float) -> Thing:
    return Thing(shape, x_px, y_px, length_px, 0.0, 5.0, 1.0, 0.0, (0.0, 0.0, 0.0))  # type: ignore[arg-type]


def test_things_are_listed_in_reading_order() -> None:
    things = [_thing("barge", 2500, 2600, 30), _thing("ship", 1300, 100, 100), _thing("jetty", 20, 30, 200)]
    assert listed(things) == "jetty large upper left ; ship medium upper centre ; barge small lower right"
    assert listed([]) == NOTHING_VISIBLE
    assert [size_of(length) for length in (39.9, 40.0, 109.0, 110.0)] == [
        "small",
        "medium",
        "medium",
        "large",
    ]


@pytest.mark.parametrize(
    ("answer", "f1"),
    [
        (TRUTH, 1.0),
        ("barge small lower right; Ship large upper left; ship large, upper left.", 1.0),
        ("ship large upper left ; barge small lower right", 0.8),  # the second ship is missing
        ("ship large upper left", 0.5),
        (" ; ".join(["ship large upper left"] * 9), 2 * 2 / 12),
        ("ship large upper left ; nonsense", 0.4),  # what is malformed was said all the same
        ("ship large upper", 0.0),
        ("ship upper left large", 0.0),
        ("", 0.0),
        ("nothing visible", 0.0),
    ],
)
def test_item_f1(answer: str, f1: float) -> None:
    assert item_f1(answer, TRUTH) == pytest.approx(f1)


def test_nothing_visible_is_all_or_nothing() -> None:
    assert item_f1("Nothing visible.", NOTHING_VISIBLE) == 1
    assert item_f1("", NOTHING_VISIBLE) == 0
    assert item_f1("ship large upper left", NOTHING_VISIBLE) == 0


def test_other_kinds_are_right_or_wrong() -> None:
    assert score("Two.", "two", "count ships") == 1
    assert score("two ships", "two", "count ships") == 0
    assert score("cannot tell", "cannot tell", "compare") == 1
    assert score(TRUTH, TRUTH, "list ships") == 1


def test_tokens_and_items() -> None:
    assert tokens("List every ship and barge.") == ["list", "every", "ship", "and", "barge", "."]
    assert items("jetty medium middle centre ; ship blue upper left") == [
        Item("jetty", "medium", "middle", "centre")
    ]
