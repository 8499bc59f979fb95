"""Files of data sets: their text, JSON and images, and errors that say what is wrong where."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from nodes.errors import DataError

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp")
MALFORMED = (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError)
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.-]")
_NAME_CHARACTERS = 80


def text_of(path: Path) -> str:
    """Return the text of a file. Raises DataError."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DataError(f"no file {path}: the data set is incomplete") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def json_of(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file. Raises DataError."""
    try:
        content = json.loads(text_of(path))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: it holds a {type(content).__name__}, not an object")
    return content


def rows_of(path: Path, key: str) -> list[dict[str, Any]]:
    """Return the list of objects under a key of a JSON file. Raises DataError."""
    rows = json_of(path).get(key)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{path}: {key!r} is not a list of objects")
    return rows


def lines_of(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the place and content of each line of a file of JSON lines. Raises DataError."""
    # JSON may hold other ends of lines in its texts, such as U+2028, which `splitlines` takes for one.
    for number, line in enumerate(text_of(path).split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{where}: {type(error).__name__}: {error}") from error
        if not isinstance(row, dict):
            raise DataError(f"{where}: it holds a {type(row).__name__}, not an object")
        yield where, row


def malformed(where: str, error: Exception) -> DataError:
    """Return the error of a row that lacks a key, or has something else there than it should."""
    if isinstance(error, KeyError):
        return DataError(f"{where}: {error} is missing")
    return DataError(f"{where}: {type(error).__name__}: {error}")


def file_name(text: str) -> str:
    """Return a text as a part of a file's name."""
    return _NOT_IN_NAMES.sub("_", text)[:_NAME_CHARACTERS]


def images_in(folder: Path) -> list[Path]:
    """Return the image files of a folder, by name."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_ENDINGS)


def no_split(folder: Path, split: str, known: Iterable[str]) -> DataError:
    """Return the error of a split that a data set does not have."""
    names = ", ".join(sorted(known))
    what = f"its splits are {names}" if names else "it has no splits; omit the option"
    return DataError(f"{folder} contains no pairs of split {split}: {what}")


def lines_of_text(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the place and content of each line of a text that is not empty. Raises DataError."""
    for number, line in enumerate(text_of(path).splitlines(), start=1):
        if line.strip():
            yield f"{path}, line {number}", line.strip()
