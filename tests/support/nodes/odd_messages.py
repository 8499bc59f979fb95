"""Messages of a broken or hostile node: events of the contract and messages of the transfer, spoiled."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgpack
from pydantic import BaseModel

from nodes.contract import topics
from nodes.contract.events import EVENTS
from nodes.transfer.messages import item_id

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


def odd_transfer(drawn: random.Random, satellite: str) -> tuple[str, bytes]:
    """Return (topic, payload) as a satellite sends them: some as the protocol says, most with faults.

    The items are of frames that no run has.
    """
    kind = drawn.choice(("manifest", "manifest", "chunk", "heartbeat", "coming", "gone", "have", "odd"))
    values: dict[Any, Any] = {"v": 1, "t": kind, **_transfer_fields(drawn, satellite)[kind]}
    for _ in range(drawn.choice((0, 0, 1, 1, 2, 5))):
        name = drawn.choice(sorted(values))
        if drawn.random() < 0.3 and len(values) > 1:
            values.pop(name)
        else:
            values[name] = drawn.choice(ODD)
    try:
        payload = msgpack.packb(values, unicode_errors="surrogatepass")
    except (OverflowError, ValueError):
        payload = b"\x81\xa1v\xcf" + b"\xff" * 8
    if drawn.random() < 0.2:
        payload = _spoilt(payload, drawn) if drawn.random() < 0.9 else b"\x81\xa1v" + b"\x91" * DEPTH
    return drawn.choice((topics.down(satellite), topics.express(satellite))), payload


def _transfer_fields(drawn: random.Random, satellite: str) -> dict[str, dict[str, Any]]:
    data = drawn.randbytes(drawn.choice((0, 1, 100, 4096, 4097)))
    frame, sha256 = f"odd-{drawn.randrange(1000)}", hashlib.sha256(data).digest()
    identity = item_id(satellite, "image", frame, sha256)
    size_bytes = drawn.choice((len(data), len(data), 5000, 1 << 20, 1 << 32, 1 << 40))
    return {
        "manifest": {
            "id": identity, "kind": drawn.choice(("image", "answer")), "frame": frame, "size": size_bytes,
            "sha256": sha256, "chunk": drawn.choice((1024, 65536, 262144, 1)), "priority": 1,
            "meta": {"prompt": "?", "form": "whole"}, "query": 1,
            **({"data": data} if drawn.random() < 0.7 else {}),
        },
        "chunk": {"id": identity, "offset": drawn.choice((0, 1024, 65536, 7)), "data": data},
        "heartbeat": {"monotonic": 1.0, "time": 2.0, "pending": 1, "bytes": 2, "contacts": 3},
        "have": {"id": identity, "query": 1, "base": 0, "bits": b"\xff"},
        "coming": {"id": identity},
        "gone": {"id": identity, "reason": drawn.choice(TEXTS)},
        "odd": {},
    }  # fmt: skip


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
