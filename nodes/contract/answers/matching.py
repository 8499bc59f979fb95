"""The rule by which a free-text answer is right.

Answer and truth are compared in their normal form (normal_form.py). An answer is right if

* both are the same; or
* the truth is yes or no, and the answer begins with it ("Yes, there is a dam."); or
* the truth is a number, and the answer has that number and no other ("There are three ships."); or
* the truth is a range ("between 11 and 100", "more than 1000"), and the answer has one number, which
  lies in it, or is that range in other words. Both ends belong to a range; an answer may give its lower
  end as the upper end of the range below ("between 10 and 100", as in RSVQA's code).

Further right answers of a question, its synonyms, count like the truth. A longer answer that merely
contains the right words is wrong: "a ship or an aircraft" is right for neither.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from nodes.contract.answers.normal_form import normal_form

_SAID_YES_NO = {"yes": True, "y": True, "true": True, "no": False, "n": False, "false": False}
_HEDGED_WITHIN = 3  # words: "yes or no" is neither
_NUMBER = r"(-?\d+(?:\.\d+)?)(?: m2)?"
_RANGE = re.compile(
    rf"(?:between |from )?{_NUMBER} (?:and|to) {_NUMBER}(?![\d.])"
    rf"|(?P<above>more than|greater than|larger than|over|above) {_NUMBER}"
    rf"|(?P<least>at least) {_NUMBER}|(?P<below>less than|fewer than|under|below) {_NUMBER}"
    rf"|(?P<most>at most|up to) {_NUMBER}"
)
_ONE_NUMBER = re.compile(_NUMBER)
_OTHER_UNITS = re.compile(
    r"\d (?:km2|ha|hectares?|acres?|square (?:km|kilomet(?:er|re)s?|feet|foot|miles?))\b"
)


def is_right(answer: str, truth: str, also_right: Sequence[str] = ()) -> bool:
    """Return whether an answer is right.

    Args:
        answer: The answer.
        truth: The right answer.
        also_right: Further right answers, such as synonyms that the data set gives.
    """
    said = normal_form(answer)
    return any(_matches(said, normal_form(right)) for right in (truth, *also_right))


def _matches(said: str, wanted: str) -> bool:
    if said == wanted:
        return True
    if wanted in _SAID_YES_NO:
        return _yes_or_no(said) is _SAID_YES_NO[wanted]
    span = _span_of(wanted)
    return span is not None and _lies_in(said, span)


def _yes_or_no(said: str) -> bool | None:
    words = said.split()
    first = _SAID_YES_NO.get(words[0]) if words else None
    hedged = any(_SAID_YES_NO.get(word, first) is not first for word in words[1:_HEDGED_WITHIN])
    return None if hedged else first


class _Span(NamedTuple):
    """Numbers from `low` to `high`; `low` itself belongs to it unless it is open."""

    low: float
    high: float
    open_low: bool = False

    def has(self, number: float) -> bool:
        return (self.low < number if self.open_low else self.low <= number) and number <= self.high

    def is_as(self, other: _Span) -> bool:
        """Return whether both are the same range, perhaps with the lower end counted otherwise."""
        return self.high == other.high and abs(self._first - other._first) <= 1

    @property
    def _first(self) -> float:
        return self.low + 1 if self.open_low else self.low


def _span_of(wanted: str) -> _Span | None:
    """Return the range that a truth is; a number is a range of its own. None for other truths."""
    if match := _RANGE.fullmatch(wanted):
        return _range(match)
    if match := _ONE_NUMBER.fullmatch(wanted):
        return _Span(float(match[1]), float(match[1]))
    return None


def _range(match: re.Match[str]) -> _Span:
    numbers = [float(group) for group in match.groups() if group and _ONE_NUMBER.fullmatch(group)]
    if match["above"]:
        return _Span(numbers[0], math.inf, open_low=True)
    if match["least"]:
        return _Span(numbers[0], math.inf)
    if match["below"]:
        return _Span(-math.inf, math.nextafter(numbers[0], -math.inf))
    if match["most"]:
        return _Span(-math.inf, numbers[0])
    return _Span(numbers[0], numbers[1])


def _lies_in(said: str, span: _Span) -> bool:
    if _OTHER_UNITS.search(said):
        return False
    ranges = [_range(match) for match in _RANGE.finditer(said)]
    if ranges:
        return span.low != span.high and len(ranges) == 1 and ranges[0].is_as(span)
    numbers = {float(word) for word in said.split() if _ONE_NUMBER.fullmatch(word)}
    return len(numbers) == 1 and span.has(numbers.pop())
