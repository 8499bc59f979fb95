"""Reference of `events.jsonl` as Markdown, made from the classes in nodes/contract/events.py.

python -m nodes.contract.reference > docs/reference/events.md
"""

from __future__ import annotations

import inspect
import re
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from nodes.contract.events import EVENTS, Event, EventRecord

INTRODUCTION = """\
# Events

Every node and the run itself report events. The run appends each to `events.jsonl` in the run's folder as
it arrives: one JSON object per line.

The end of a field's name is its unit: `_s` seconds, `_bytes` bytes, `_j` joules, `_w` watts, `_ppm` parts
per million. Fields marked *optional* may be missing. Lines are in order of arrival; sort them by
`monotonic_s` for the order in time. `sequence` shows which events of a node were repeated or lost.

This page is made from `nodes/contract/events.py`. Python programs read a line with
`nodes.contract.events.EventRecord.from_line(line)`.
"""

_NAMES = {str: "text", int: "integer", float: "number", bool: "true or false", NoneType: "null"}
_ARGUMENT = re.compile(r"^(\w+): (.*)$")


def events_reference() -> str:
    """Return the whole page."""
    sections = [INTRODUCTION, _envelope(), _overview()]
    sections += [_section(kind) for kind in EVENTS.values()]
    return "\n".join(sections)


def _envelope() -> str:
    fields = {name: field for name, field in EventRecord.model_fields.items() if name != "event"}
    rows = ["| `event` | text | Name of the event. |", *_rows(EventRecord, fields)]
    return "\n".join(["## Fields of every event", "", *_HEAD, *rows, ""])


def _overview() -> str:
    rows = [
        f"| [`{name}`](#event-{name.replace('_', '-')}) | {kind.sent_by} | {_summary(kind)} |"
        for name, kind in EVENTS.items()
    ]
    return "\n".join(["## All events", "", "| event | from | meaning |", "|---|---|---|", *rows, ""])


def _section(kind: type[Event]) -> str:
    label = f"(event-{kind.event_name.replace('_', '-')})="
    rows = _rows(kind, kind.model_fields)
    table = [*_HEAD, *rows, ""] if rows else []
    heading = f"## `{kind.event_name}`"
    return "\n".join([label, heading, "", f"{_summary(kind)} From: {kind.sent_by}.", "", *table])


_HEAD = ("| field | type | meaning |", "|---|---|---|")


def _rows(model: type[BaseModel], fields: dict[str, FieldInfo]) -> list[str]:
    meanings = _meanings(model)
    rows = []
    for name, field in fields.items():
        optional = "" if field.is_required() else ", optional"
        meaning = meanings[name][0].upper() + meanings[name][1:].replace("None", "null")
        rows.append(f"| `{name}` | {_type_text(field.annotation)}{optional} | {meaning} |")
    return rows


def _summary(model: type[BaseModel]) -> str:
    return " ".join((inspect.getdoc(model) or "").partition("\n\n")[0].split())


def _meanings(model: type[BaseModel]) -> dict[str, str]:
    """Return each field's meaning from the `Args:` of the class and of those that it derives from."""
    meanings: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if base in (BaseModel, object):
            continue
        name = ""
        for line in inspect.cleandoc(vars(base).get("__doc__") or "").partition("Args:\n")[2].splitlines():
            if found := _ARGUMENT.match(line.removeprefix("    ")):
                name, meanings[found[1]] = found[1], found[2]
            elif name and line.strip():
                meanings[name] += f" {line.strip()}"
    return meanings


def _type_text(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type_text(arguments[0])
    if origin in (Union, UnionType):
        return " or ".join(_type_text(argument) for argument in arguments)
    if origin is Literal:
        return " or ".join(f'"{value}"' for value in arguments)
    if origin is list:
        return f"list of {_type_text(arguments[0])}"
    if origin is dict:
        return f"object of {_type_text(arguments[1])}"
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return "object (" + ", ".join(f"`{name}`" for name in annotation.model_fields) + ")"
    return _NAMES[annotation]


if __name__ == "__main__":
    print(events_reference(), end="")
