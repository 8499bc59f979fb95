"""The records of a file of Orbit Mean-Elements Messages, in JSON, CSV, XML or KVN, before they are checked.

CelesTrak and Space-Track write all four. JSON may be one object, an array, an array inside of an answer
(`{"data": [...]}`), or an object a line.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

from traces.errors import TleError
from traces.orbits.skipped_lines import SkippedLines

_SEPARATORS = ",;\t|"
_ELEMENT_KEYS = {"MEAN_MOTION", "EPOCH", "TLE_LINE1", "TLE1", "LINE1", "TLE"}
_KVN_LINE = re.compile(r"\s*([A-Z][A-Z0-9_]*)\s*=\s*(.*?)\s*")
_KVN_UNIT = re.compile(r"\s*\[[^\]]*\]$")
_KVN_TEXTS = ("OBJECT_NAME", "OBJECT_ID", "ORIGINATOR", "CREATION_DATE", "EPOCH")
_KVN_METADATA = ("OBJECT_NAME", "OBJECT_ID", "CENTER_NAME", "REF_FRAME", "TIME_SYSTEM", "MEAN_ELEMENT_THEORY")

Record = tuple[str, Any]
"""The place of a record, for messages, and the record: a mapping of keys, or something invalid."""


def is_omm(text: str) -> bool:
    """Tell whether a text is an OMM of any format, by its content."""
    return text.lstrip()[:1] in ("[", "{") or _is_xml(text) or _is_kvn(text) or _separator(text) is not None


def omm_records(text: str, skipped: SkippedLines) -> list[Record]:
    """Return the records of a text.

    Args:
        text: the file's text.
        skipped: takes lines of KVN that are no records.

    Raises:
        TleError: The text as a whole cannot be read as the format that it seems to have.
    """
    if _is_xml(text):
        return _xml(text, skipped.source)
    if text.lstrip()[:1] not in ("[", "{"):
        if _is_kvn(text):
            return list(_kvn(text, skipped))
        if (separator := _separator(text)) is not None:
            return _csv(text, separator, skipped.source)
    return _json(text, skipped.source)


def _json(text: str, source: str) -> list[Record]:
    try:
        records = _records_in(json.loads(text))
    except (ValueError, RecursionError) as fault:
        lines = _json_lines(text)
        if lines:
            return [(f"{source}, line {number}", record) for number, record in lines]
        where = f", line {fault.lineno}" if isinstance(fault, json.JSONDecodeError) else ""
        raise TleError(f"{source}{where}: expected JSON; {str(fault).splitlines()[0]}") from None
    return [(f"{source}, record {number}", record) for number, record in enumerate(records, start=1)]


def _json_lines(text: str) -> list[tuple[int, Any]]:
    """Return the records of JSON lines, invalid lines as text; nothing if no line is an object."""
    records: list[tuple[int, Any]] = []
    objects = 0
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            document = json.loads(line)
        except (ValueError, RecursionError):
            records.append((number, line))
            continue
        objects += isinstance(document, dict)
        records += [(number, record) for record in _records_in(document)]
    return records if objects else []


def _records_in(document: Any) -> list[Any]:
    if isinstance(document, list):
        return [record for item in document for record in _records_in(item)]
    if not isinstance(document, dict):
        return [document]
    keys = {str(key).upper() for key in document}
    if keys & {"BODY", "SEGMENT", "METADATA"}:  # CCSDS's structure, as in XML
        return [dict(_leaves(document))]
    if not keys & _ELEMENT_KEYS:
        parts = [part for part in document.values() if isinstance(part, list | dict)]
        parts = [part for part in parts if _holds_elements(part)] or [p for p in parts if isinstance(p, list)]
        if parts:
            return [record for part in parts for record in _records_in(part)]
    return [{str(key).upper(): value for key, value in document.items()}]


def _holds_elements(value: Any) -> bool:
    if isinstance(value, list):
        return any(_holds_elements(item) for item in value)
    if not isinstance(value, dict):
        return False
    return any(str(key).upper() in _ELEMENT_KEYS or _holds_elements(part) for key, part in value.items())


def _leaves(value: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, part in value.items():
        if isinstance(part, dict):
            yield from _leaves(part)
        elif not isinstance(part, list):
            yield str(key).upper(), part


def _separator(text: str) -> str | None:
    """Return the separator of a CSV by its first line, which names the columns; None for other texts."""
    header = next((line for line in text.splitlines() if _is_content(line)), "").upper()
    for separator in _SEPARATORS:
        columns = {cell.strip().strip('"') for cell in header.split(separator)}
        if len(columns) > 1 and columns & (_ELEMENT_KEYS - {"TLE"}):
            return separator
    return None


def _is_content(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _csv(text: str, separator: str, source: str) -> list[Record]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    columns: list[str] = []
    records: list[Record] = []
    try:
        for row in reader:
            if not any(cell.strip() for cell in row) or (row[0].lstrip().startswith("#")):
                continue
            if not columns:
                columns = [cell.strip().upper() for cell in row]
            elif [cell.strip().upper() for cell in row] != columns:  # files may have been joined
                fits = len(row) == len(columns)
                fields: Any = dict(zip(columns, row, strict=True)) if fits else separator.join(row)
                records.append((f"{source}, line {reader.line_num}", fields))
    except csv.Error as fault:
        raise TleError(f"{source}, line {reader.line_num}: expected CSV; {fault}") from None
    return records


def _is_xml(text: str) -> bool:
    return text.lstrip().startswith("<") and "meanelements" in text.lower()


def _xml(text: str, source: str) -> list[Record]:
    if "<!ENTITY" in text:  # entities can expand to gigabytes, and no OMM needs them
        raise TleError(f"{source}: expected XML without entity declarations")
    try:
        root = ElementTree.fromstring(text.lstrip())  # noqa: S314
    except (ElementTree.ParseError, ValueError) as fault:
        raise TleError(f"{source}: expected XML; {str(fault).splitlines()[0]}") from None
    segments = [element for element in root.iter() if _tag(element) == "SEGMENT"] or [root]
    records = [
        {_tag(leaf): (leaf.text or "").strip() for leaf in segment.iter() if not len(leaf)}
        for segment in segments
    ]
    return [(f"{source}, record {number}", record) for number, record in enumerate(records, start=1)]


def _tag(element: ElementTree.Element) -> str:
    return str(element.tag).rpartition("}")[2].upper()


def _is_kvn(text: str) -> bool:
    return re.search(r"^\s*(EPOCH|MEAN_MOTION|CCSDS_OMM_VERS)\s*=", text, re.MULTILINE) is not None


def _kvn(text: str, skipped: SkippedLines) -> Iterator[Record]:
    """Yield a record for each message; metadata behind elements, or a repeated key, begin the next one."""
    record: dict[str, Any] = {}
    begin = 1
    for number, line in enumerate(text.splitlines(), start=1):
        match = _KVN_LINE.fullmatch(line)
        if match is None:
            if line.strip() and not line.split()[0].startswith(("COMMENT", "#")):
                skipped.line(number, line)
            continue
        key, value = match[1], match[2]
        behind = key in _KVN_METADATA and not record.keys().isdisjoint(_ELEMENT_KEYS)
        if record and (key == "CCSDS_OMM_VERS" or key in record or behind):
            yield f"{skipped.source}, message at line {begin}", record
            record = {}
        begin = begin if record else number
        record[key] = value if key in _KVN_TEXTS else _KVN_UNIT.sub("", value)
    if record:
        yield f"{skipped.source}, message at line {begin}", record
