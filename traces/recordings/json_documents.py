"""JSON documents in one file: a single one, a list, one a line, or one after the other."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from traces.errors import TraceError

_BLANK = re.compile(r"[\s,\x1e]*")  # 1e: the separator of RFC 7464


def utf8_text(data: bytes, name: str) -> str:
    """Return the text of a file. Raises TraceError with the line that is not UTF-8."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as fault:
        line = data.count(b"\n", 0, fault.start) + 1
        raise TraceError(f"{name}, line {line}: expected UTF-8 text") from None


def json_documents(data: bytes, name: str) -> Iterator[tuple[str, Any]]:
    """Yield the place, for messages, and the value of each document; the items of a list one by one.

    Raises:
        TraceError: The file is not JSON; the message names the line.
    """
    text = utf8_text(data, name)
    place, line = 0, 1
    while True:
        after = _BLANK.match(text, place).end()  # type: ignore[union-attr]  # it always matches
        line, place = line + text.count("\n", place, after), after
        if place >= len(text):
            return
        where = f"{name}, line {line}"
        try:
            value, end = json.JSONDecoder().raw_decode(text, place)
        except (ValueError, RecursionError) as fault:
            found = fault.lineno if isinstance(fault, json.JSONDecodeError) else line
            reason = str(fault).splitlines()[0][:80]
            raise TraceError(f"{name}, line {found}: expected JSON, complete; {reason}") from None
        if isinstance(value, list):
            yield from ((where, item) for item in value)
        else:
            yield where, value
        line, place = line + text.count("\n", place, end), end


def number_at(record: Any, *keys: str) -> float:
    """Return the number at a path of keys; NaN if there is none."""
    for key in keys:
        record = record.get(key) if isinstance(record, dict) else None
    if isinstance(record, str):  # protocol buffers write 64-bit integers as text
        record = float(record) if re.fullmatch(r"-?\d{1,20}(\.\d{1,20})?", record) else None
    if isinstance(record, bool) or not isinstance(record, (int, float)) or not abs(record) < 1e300:
        return float("nan")
    return float(record)
