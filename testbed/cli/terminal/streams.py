"""Standard streams that are closed, full, or unable to show a character."""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import sys
import unicodedata
from pathlib import Path

_ERRORS = "spaceverse-plain"
_PLAIN = {"°": " deg", "…": "...", "±": "+/-", "\u2013": "-", "\u2014": "-", "\u2212": "-", "\u00d7": "x"}


def make_streams_usable() -> None:
    """Open what is closed to the null device, and replace characters that a stream cannot encode."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:  # else the next file that is opened would get what programs print
            os.open(os.devnull, os.O_RDWR)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - for good
        elif isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors=_ERRORS)


def stop_writing_to_stdout() -> None:
    """Discard what stdout still holds: Python would try to write it again at its end, and fail again."""
    with contextlib.suppress(OSError, ValueError):  # stdout has no descriptor, as in tests
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


def plain(text: str) -> str:
    """Return a text in ASCII: signs in words, letters without their accents, and ? for the rest."""
    letters = unicodedata.normalize("NFKD", "".join(_PLAIN.get(letter, letter) for letter in text))
    return "".join(
        letter if letter.isascii() else "?" for letter in letters if not unicodedata.combining(letter)
    )


def _replaced(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return plain(error.object[error.start : error.end]), error.end


codecs.register_error(_ERRORS, _replaced)
