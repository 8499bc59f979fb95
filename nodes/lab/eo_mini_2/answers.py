"""Grammar of the answers, and their scores.

    count     "zero" to "three", or "cannot tell"
    yes/no    "yes", "no", or "cannot tell"
    list      "ship large upper left ; barge small lower right", or "nothing visible"

An item of a list is a shape, a size and a cell of 3 x 3. A list is scored by item F1, every other answer by
equality. Words are tokens; items may come in any order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from nodes.lab.eo_mini_2.scene import FRAME_PX, SHAPES, Thing

COUNT_WORDS = ("zero", "one", "two", "three")
CANNOT_TELL, NOTHING_VISIBLE = "cannot tell", "nothing visible"
SIZES = ("small", "medium", "large")
SIZE_LIMITS_PX = (40.0, 110.0)
ROWS, COLUMNS = ("upper", "middle", "lower"), ("left", "centre", "right")
SEPARATOR = ";"
GOOD_F1 = 0.75
"""A list with at least this item F1 counts as right where a share of right answers is asked for."""

_SHAPES = frozenset(shape for pair in SHAPES.values() for shape in pair)


class Item(NamedTuple):
    """One object of a list."""

    shape: str
    size: str
    row: str
    column: str


def item_of(thing: Thing) -> Item:
    """Return the item that names a thing."""
    column, row = (min(2, int(3 * at / FRAME_PX)) for at in (thing.x_px, thing.y_px))
    return Item(thing.shape, size_of(thing.length_px), ROWS[row], COLUMNS[column])


def size_of(length_px: float) -> str:
    """Return the size class of a length."""
    return SIZES[sum(length_px >= limit for limit in SIZE_LIMITS_PX)]


def listed(things: Iterable[Thing]) -> str:
    """Return the list of things, in reading order of their centres' cells."""
    items = sorted((item_of(thing) for thing in things), key=_reading_order)
    return f" {SEPARATOR} ".join(" ".join(item) for item in items) or NOTHING_VISIBLE


def _reading_order(item: Item) -> tuple[int, int, str, int]:
    return ROWS.index(item.row), COLUMNS.index(item.column), item.shape, SIZES.index(item.size)


def tokens(text: str) -> list[str]:
    """Split an answer or a prompt into tokens: lower-case words, and marks that stand alone."""
    for mark in (SEPARATOR, ",", "?", ".", ":"):
        text = text.replace(mark, f" {mark} ")
    return text.lower().split()


def items(text: str) -> list[Item]:
    """Return the well-formed items of a list; others are left out of the list, and so are missing.

    Each malformed part still counts as an item said: see `item_f1`.
    """
    return [item for part in _parts(text) if (item := _item(part))]


def _parts(text: str) -> list[list[str]]:
    words = tokens(text)
    while words and words[-1] in (".", SEPARATOR):
        words.pop()
    if not words or " ".join(words) == NOTHING_VISIBLE:
        return []
    parts: list[list[str]] = [[]]
    for word in words:
        if word == SEPARATOR:
            parts.append([])
        elif word != ",":
            parts[-1].append(word)
    return parts


def _item(part: Sequence[str]) -> Item | None:
    if len(part) != len(Item._fields):
        return None
    shape, size, row, column = part
    known = shape in _SHAPES and size in SIZES and row in ROWS and column in COLUMNS
    return Item(shape, size, row, column) if known else None


def item_f1(answer: str, truth: str) -> float:
    """Return the harmonic mean of precision and recall of a list's items, 0 to 1.

    Two things of the same shape, size and cell are two items of the truth, and must be said twice. Where the
    truth is that nothing is visible, only that answer scores, with 1.
    """
    if truth == NOTHING_VISIBLE:
        return float(" ".join(tokens(answer)).rstrip(" .") == NOTHING_VISIBLE)
    said, wanted = Counter(items(answer)), Counter(items(truth))
    found = sum((said & wanted).values())
    return 2 * found / (len(_parts(answer)) + sum(wanted.values()))


def score(answer: str, truth: str, kind: str) -> float:
    """Return the score of an answer, 0 to 1: item F1 of lists, equality of others."""
    if kind.startswith("list"):
        return item_f1(answer, truth)
    return float(" ".join(tokens(answer)).rstrip(" .") == truth)
