"""One HTTP request, with bounds on the time and the memory that its reply may take.

A timeout of a socket begins anew with each byte, so that a server that sends one byte a second is never too
late. Here the whole exchange has one deadline. Redirects are not followed and the environment's proxies are
not used: a key is sent to the given server alone. Replies must not be compressed.
"""

from __future__ import annotations

import base64
import http.client
import io
import re
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote, urlsplit

_BLOCK_BYTES = 1 << 16


class ReplyError(Exception):
    """A reply that is too large, or in a form that was not asked for."""


@dataclass(frozen=True)
class Bounds:
    """Bounds of one request.

    Attributes:
        connect_s: Time to connect.
        total_s: Time of the whole exchange.
        body_bytes: Largest body of a reply.
    """

    connect_s: float
    total_s: float
    body_bytes: int


@dataclass(frozen=True)
class Reply:
    """A reply.

    Attributes:
        status: Its status.
        body: Its content.
        location: Where it redirects to; None if it does not.
        retry_after_s: Its header Retry-After; 0 without one, or if it is a date.
    """

    status: int
    body: bytes
    location: str | None
    retry_after_s: float


def send_request(
    method: str,
    url: str,
    *,
    bounds: Bounds,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    unix_socket: Path | None = None,
) -> Reply:
    """Send a request over a connection of its own and return the reply.

    Args:
        method: GET or POST.
        url: http or https. A user name and password in it are sent as basic authentication.
        bounds: Bounds on time and memory.
        body: Content of the request.
        headers: Further headers.
        unix_socket: A Unix socket that leads to the server.

    Raises:
        TimeoutError: The exchange took longer than it may.
        ReplyError: The reply is too large or compressed.
        OSError: The server cannot be reached, or ended the connection.
        http.client.HTTPException: The reply is not HTTP.
    """
    parts = urlsplit(url)
    https = parts.scheme == "https"
    host, port = parts.hostname or "", parts.port or (443 if https else 80)
    deadline_s = time.monotonic() + bounds.total_s
    sent = {"Accept-Encoding": "identity", "Connection": "close", **(headers or {})}
    if parts.username is not None:
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        sent["Authorization"] = f"Basic {base64.b64encode(user.encode()).decode()}"
    connection = http.client.HTTPConnection(host, port)
    if https:
        connection.default_port = 443  # else the header Host has the port
    with _connected(host, port, unix_socket, min(bounds.connect_s, bounds.total_s)) as plain:
        stream = _secured(plain, host, deadline_s) if https else plain
        with stream:
            connection.sock = cast("Any", _Deadline(stream, deadline_s))
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request(method, path, body=body, headers=sent)
            return _reply(connection.getresponse(), bounds.body_bytes)


def _secured(plain: socket.socket, host: str, deadline_s: float) -> ssl.SSLSocket:
    """Return a connection with TLS to the server called `host`; the socket is its own from then on."""
    plain.settimeout(max(0.001, deadline_s - time.monotonic()))
    return ssl.create_default_context().wrap_socket(plain, server_hostname=host)


def _connected(host: str, port: int, unix_socket: Path | None, timeout_s: float) -> socket.socket:
    if unix_socket is None:
        return socket.create_connection((host, port), timeout_s)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.settimeout(timeout_s)
        made.connect(str(unix_socket))
    except BaseException:
        made.close()
        raise
    return made


def _reply(response: http.client.HTTPResponse, most_bytes: int) -> Reply:
    coding = response.headers.get("Content-Encoding", "identity")
    if coding != "identity":
        raise ReplyError(f"its reply is encoded as {coding!r:.20}, which was not asked for")
    body = bytearray()
    while block := response.read(_BLOCK_BYTES):
        body += block
        if len(body) > most_bytes:
            raise ReplyError(f"its reply is larger than {most_bytes / 1e6:.0f} MB")
    headers = response.headers
    return Reply(
        response.status, bytes(body), headers.get("Location"), _whole_seconds(headers.get("Retry-After"))
    )


def _whole_seconds(text: str | None) -> float:
    return float(text) if text is not None and re.fullmatch(r"[0-9]{1,9}", text.strip()) else 0.0


class _Deadline(io.RawIOBase):
    """A socket as `http.client` uses one, whose operations all end at one moment.

    `http.client` closes it when a reply has begun, and then reads on from what `makefile` gave; so neither
    closes the socket.
    """

    def __init__(self, stream: socket.socket, deadline_s: float) -> None:
        self._stream, self._deadline_s = stream, deadline_s

    def makefile(self, mode: str) -> io.BufferedReader:
        """Return the stream for reading."""
        return io.BufferedReader(_Deadline(self._stream, self._deadline_s))

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what is there, or wait for it until the deadline."""
        self._bound()
        return self._stream.recv_into(buffer)

    def sendall(self, data: bytes) -> None:
        """Send until the deadline."""
        self._bound()
        self._stream.sendall(data)

    def _bound(self) -> None:
        left_s = self._deadline_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("the exchange took too long")
        self._stream.settimeout(left_s)
