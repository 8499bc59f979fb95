"""Messages of a broken or hostile node: events of the contract, drawn by their types and then spoiled."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from nodes.contract.events import EVENTS

TEXTS = (
    "",
    "a",
    "b",
    "B",
    "G",
    "two",
    "../../etc/passwd",
    "\x1b[31mred\x1b[0m",
    "line\nbreak",
    "\ud800",
    "x" * 5000,
    "<script>",
    "NaN",
)
NUMBERS = (0, 1, -1, 0.5, 1e-300, 1e17, -1e17, 10**15, 2**63, 10**400, 1e308, float("inf"), float("nan"))
ODD: tuple[Any, ...] = (None, True, [], {}, [[]], {"a": {"b": []}}, "text", 7, -7.5, *NUMBERS, *TEXTS)
DEPTH = 100_000


def odd_event(drawn: random.Random, envelope: Callable[[], dict[str, Any]]) -> bytes:
    """Return an event as a node sends it: some as declared, most with one or more faults."""
    kind = drawn.choice(sorted(EVENTS))
    values: dict[str, Any] = {"event": kind, **envelope(), **_fields(EVENTS[kind], drawn)}
    for _ in range(drawn.choice((0, 1, 1, 1, 2, 5))):
        name = drawn.choice(sorted(values))
        if drawn.random() < 0.3:
            values.pop(name)
        else:
            values[name] = drawn.choice(ODD)
        values.setdefault("frame", drawn.choice(("a", "b")))
    payload = json.dumps(values).encode("utf-8", "surrogatepass")
    return _spoilt(payload, drawn) if drawn.random() < 0.2 else payload


def _spoilt(payload: bytes, drawn: random.Random) -> bytes:
    where = drawn.randrange(len(payload))
    return drawn.choice(
        (
            payload[:where],
            payload[:where] + drawn.randbytes(3) + payload[where:],
            b"[" * DEPTH + b"]" * DEPTH,
            b'{"a":' * DEPTH,
            drawn.randbytes(200),
            b"",
        )
    )


def _fields(kind: type[BaseModel], drawn: random.Random) -> dict[str, Any]:
    return {
        name: _value(field.annotation, drawn)
        for name, field in kind.model_fields.items()
        if field.is_required() or drawn.random() < 0.5
    }


def _value(annotation: Any, drawn: random.Random) -> Any:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _value(arguments[0], drawn)
    if origin is Literal:
        return drawn.choice(arguments)
    if origin in (Union, UnionType):
        return _value(drawn.choice(arguments), drawn)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _fields(annotation, drawn)
    if origin in (list, tuple, dict) or annotation in (list, tuple, dict):
        return {} if dict in (origin, annotation) else []
    plain = {str: TEXTS, int: (0, 1, 3, 10**12), float: (0.0, 0.5, 1e9, -3.0), bool: (True, False)}
    return None if annotation is NoneType else drawn.choice(plain.get(annotation, ODD))
