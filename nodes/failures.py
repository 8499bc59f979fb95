"""Names the part, the error and the place of a failure, for users who look for their own line."""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nodes.errors import ImageError, NodeError, PartError, ServerUnavailableError, first_line

_OWN_FOLDER = str(Path(__file__).parent)
_LIBRARIES = (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), "<")


@contextmanager
def failing_as(part: str) -> Iterator[None]:
    """Raise a PartError for what the body raises, apart from errors of images, servers and other parts."""
    try:
        yield
    except (PartError, ImageError, ServerUnavailableError):
        raise
    except Exception as error:
        raise PartError(part, named(error), where_of(error)) from error


def named(error: BaseException) -> str:
    """Return the class and the first line of an error; the line alone for an error of this package."""
    text = first_line(error)
    return text if isinstance(error, NodeError) else f"{type(error).__name__}: {text}"


def where_of(error: BaseException) -> str | None:
    """Return the file, line and function that raised an error, as a user looks for it.

    It is the innermost one outside of this package and of installed libraries; else the innermost one of this
    package; else None.
    """
    found = None
    for frame in traceback.extract_tb(error.__traceback__):
        own = frame.filename.startswith(_OWN_FOLDER)
        library = frame.filename.startswith(_LIBRARIES) or "-packages/" in frame.filename
        if not library and not (own and found and not found.startswith(_OWN_FOLDER)):
            found = f"{frame.filename}, line {frame.lineno}, in {frame.name}"
    return found
