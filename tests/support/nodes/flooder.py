"""A satellite that floods a station, as a process: `flooder.py PORT KIND RATE_BIT_S`, until it is killed.

It writes MQTT 3.1.1 by itself, at the rate of its link and without any flow control but TCP's.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import socket
import sys
import time
from collections.abc import Iterator

from nodes.contract import topics
from nodes.transfer.messages import Chunk, Heartbeat, Manifest, encode, item_id

NAME = "flood"
HUGE_BYTES = 1 << 32
CONNECTIONS = 200
CONNECTION_BYTES = 600  # of opening and closing one, with the headers of TCP


def manifest(number: int, *, size_bytes: int = HUGE_BYTES, data: bytes | None = None) -> Manifest:
    """Return the manifest of an item that is new for each number."""
    sha256 = hashlib.sha256(data if data is not None else str(number).encode()).digest()
    frame = f"frame {number}"
    inline = {} if data is None else {"data": data}
    return Manifest(
        item_id=item_id(NAME, "image", frame, sha256),
        kind="image",
        frame=frame,
        size_bytes=size_bytes if data is None else len(data),
        sha256=sha256,
        chunk_bytes=256 * 1024,
        priority=0,
        metadata={"prompt": "?"},
        query=1,
        **inline,
    )


def payloads(kind: str) -> Iterator[tuple[str, bytes]]:
    """Yield (topic, payload) without end."""
    down, express = topics.down(NAME), topics.express(NAME)
    if kind == "chunks":
        yield down, encode(manifest(0))
    for number in itertools.count():
        match kind:
            case "manifests":
                yield down, encode(manifest(number))
            case "items":
                yield express, encode(manifest(number, data=os.urandom(100)))
            case "chunks":
                offset = number * 256 * 1024 % HUGE_BYTES
                yield down, encode(Chunk(manifest(0).item_id, offset, bytes(256 * 1024)))
            case "bodies":
                yield down, bytes(1_900_000)
            case "rubbish":
                yield down, b"\x81\xa1v" + b"\x91" * 300
            case "heartbeats":
                beat = Heartbeat(monotonic_s=0.0, pending=0, pending_bytes=0, contacts=number)
                yield express, encode(beat)
            case _:
                raise SystemExit(f"no kind of flood: {kind}")


def packet(head: int, body: bytes) -> bytes:
    """Return an MQTT packet."""
    length, rest = b"", len(body)
    while rest or not length:
        rest, low = divmod(rest, 128)
        length += bytes([low | (0x80 if rest else 0)])
    return bytes([head]) + length + body


def text(value: str) -> bytes:
    """Return a string as MQTT has it."""
    return len(value).to_bytes(2, "big") + value.encode()


def connect(port: int, name: str) -> socket.socket:
    """Return an open session."""
    opened = socket.create_connection(("127.0.0.1", port))
    opened.sendall(packet(0x10, text("MQTT") + b"\x04\x02\x00\x0f" + text(name)))
    return opened


class Pace:
    """Sleeps so that bytes are sent at a rate."""

    def __init__(self, rate_bit_s: float) -> None:
        self._rate_byte_s = rate_bit_s / 8
        self._due_s = time.monotonic()

    def sent(self, size_bytes: int) -> None:
        """Note bytes, and wait until the next may go."""
        now_s = time.monotonic()
        self._due_s = max(self._due_s, now_s - 0.05) + size_bytes / self._rate_byte_s
        if self._due_s - now_s > 0.005:
            time.sleep(self._due_s - now_s)


def flood_connections(port: int, pace: Pace) -> None:
    """Open sessions and leave them; at CONNECTIONS the oldest closes."""
    opened: list[socket.socket] = []
    for number in itertools.count():
        with contextlib.suppress(OSError):
            opened.append(connect(port, f"{NAME}-{number}"))
            pace.sent(CONNECTION_BYTES)
        if len(opened) > CONNECTIONS:
            opened.pop(0).close()


def main(port: int, kind: str, rate_bit_s: float) -> None:
    """Flood until killed."""
    pace = Pace(rate_bit_s)
    if kind == "connections":
        flood_connections(port, pace)
    while True:
        with contextlib.suppress(OSError), connect(port, NAME) as opened:
            for topic, payload in payloads(kind):
                whole = packet(0x30, text(topic) + payload)
                opened.sendall(whole)
                pace.sent(len(whole))
        time.sleep(0.1)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]))
