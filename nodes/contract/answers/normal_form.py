"""Normal form of an answer, in which only its wording is left.

The steps are those that VQA's answers have gone through (visualqa.org/download.html): lower case, no
full stops except in decimal numbers, number words as digits, no articles. Beyond these, other
punctuation is removed, numbers may be of several words ("twenty-one"), a dash between numbers reads as
"to", and square metres become "m2".
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator

_ARTICLES = frozenset({"a", "an", "the"})
_SMALL = {
    word: value
    for value, word in enumerate(
        [
            *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
            *("ten", "eleven", "twelve", "thirteen", "fourteen"),
            *("fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
        ]
    )
} | {"none": 0}
_TENS = {
    word: 10 * value
    for value, word in enumerate(
        ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"], start=2
    )
}
_SCALES = {"hundred": 100, "thousand": 1000, "million": 1_000_000}
_THOUSANDS_COMMA = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_DASH = re.compile(r"(?<=\d)\s*[-\u2010-\u2015]\s*(?=\d)")
_SQUARE_METRES = re.compile(r"(?<=\d)\s*(m2|m\^2|sqm|sq\.? ?m|square met(?:er|re)s?)(?![a-z0-9])")
_APOSTROPHES = re.compile("['\u2019`]")
_NOT_IN_WORDS = re.compile(r"(?<!\d)\.|\.(?!\d)|(?<=[^\s(])-|-(?!\d)|[^\w\s.-]|_")


def normal_form(text: str) -> str:
    """Return the normal form of an answer; an answer of articles alone keeps them."""
    text = unicodedata.normalize("NFKC", text).lower()
    text = _DASH.sub(" to ", _THOUSANDS_COMMA.sub("", text))
    text = _SQUARE_METRES.sub(" m2", text)
    text = _NOT_IN_WORDS.sub(" ", _APOSTROPHES.sub("", text))
    words = text.split()
    return " ".join(_with_digits([word for word in words if word not in _ARTICLES] or words))


def _with_digits(words: Iterable[str]) -> Iterator[str]:
    """Yield the words, with digits for the words of each number: "one hundred and five" is "105"."""
    number: _Number | None = None
    joined = False  # an "and" may belong to the number before it
    for word in words:
        if number is not None and word == "and" and number.may_join and not joined:
            joined = True
            continue
        if number is not None and number.takes(word):
            joined = False
            continue
        if number is not None:
            yield str(number.value)
            if joined:
                yield "and"
            number, joined = None, False
        if word in _SMALL or word in _TENS or word in _SCALES:
            number = _Number()
            number.takes(word)
        else:
            yield word
    if number is not None:
        yield str(number.value)
        if joined:
            yield "and"


class _Number:
    """A number that is read word by word."""

    def __init__(self) -> None:
        self._whole = 0
        self._part: int | None = None  # below the next scale
        self._last_scale = 0

    @property
    def value(self) -> int:
        return self._whole + (self._part or 0)

    @property
    def may_join(self) -> bool:
        return self._last_scale > 0

    def takes(self, word: str) -> bool:
        """Take a word if it continues the number."""
        part = self._part or 0
        if word in _SCALES:
            return self._scale(_SCALES[word])
        if word in _TENS:
            fits, value = self._part is None or (part and part % 100 == 0), _TENS[word]
        elif word in _SMALL:
            value = _SMALL[word]
            after_tens = part % 100 >= 20 and part % 10 == 0 and 0 < value < 10
            fits = self._part is None or after_tens or (part and part % 100 == 0 and value > 0)
        else:
            return False
        if not fits:
            return False
        self._part, self._last_scale = part + value, 0
        return True

    def _scale(self, scale: int) -> bool:
        if scale == 100:
            if self._part is not None and not 0 < self._part < 10:
                return False
            self._part = 100 * (self._part or 1)
        else:
            if (self._part is None and self._whole) or self._part == 0:
                return False
            self._whole, self._part = self._whole + scale * (self._part or 1), None
        self._last_scale = scale
        return True
