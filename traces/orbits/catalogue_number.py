"""Catalogue numbers of satellites, compared as numbers: 5 is 00005, and 270000 is T0000."""

from __future__ import annotations

import re

_ALPHA_5 = re.compile(r"([A-HJ-NP-Z])(\d{4})")  # I and O are left out, since they look like 1 and 0
_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"
_DIGITS = re.compile(r"\d{1,12}")


def catalogue_number_of(text: str) -> int | None:
    """Return the number that a text stands for, in digits or in Alpha-5; None if it is none.

    Alpha-5 fits six digits into the five columns of a TLE: a letter stands for the first two digits.
    """
    plain = text.strip().upper()
    if (match := _ALPHA_5.fullmatch(plain)) is not None:
        return (_LETTERS.index(match[1]) + 10) * 10_000 + int(match[2])
    return int(plain) if plain.isascii() and _DIGITS.fullmatch(plain) else None


def catalogue_text(value: object) -> str:
    """Return a catalogue number from JSON or CSV as text, without the `.0` that spreadsheets append."""
    return re.sub(r"(?<=\d)\.0+$", "", str("" if value is None else value).strip())
