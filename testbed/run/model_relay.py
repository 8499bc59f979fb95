"""Leads a ground station's program to a model that is served outside of its network namespace.

A station's host sees the emulated link and nothing else, on purpose. Its model server is no part of what is
emulated, so the way to it is a Unix socket, as for the management plane, and a thread that passes bytes on.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path
from urllib.parse import urlsplit

SERVED = "openai:"  # what a model's name begins with when it is behind a server (nodes/vlm/openai.py)
CONNECT_S = 10.0
_BLOCK_BYTES = 1 << 16
_PORTS = {"http": 80, "https": 443}


def server_of(model: str) -> tuple[str, int] | None:
    """Host and port of the server that a model's name stands for; None for other names.

    A name that is none gives None too: the station's program says what is wrong with it.
    """
    if not model.startswith(SERVED):
        return None
    try:
        parts = urlsplit(model.removeprefix(SERVED))
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return None
    return (parts.hostname, port) if parts.hostname and port else None


class ModelRelay:
    """Listens on a Unix socket; each connection to it becomes one to a server, until either end closes.

    Where the server cannot be reached the connection is closed at once, which its client will tell.
    """

    def __init__(self, path: Path, host: str, port: int) -> None:
        self._path, self._server = path, (host, port)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._open: set[socket.socket] = set()

    def __enter__(self) -> ModelRelay:
        self._listener.bind(str(self._path))
        self._listener.listen()
        threading.Thread(target=self._accept, name="model relay", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # to close it would not wake the thread
        self._listener.close()
        for end in list(self._open):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._path.unlink(missing_ok=True)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                return
            threading.Thread(target=self._serve, args=(client,), name="model relay", daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            try:
                server = socket.create_connection(self._server, CONNECT_S)
            except OSError:
                return
            server.settimeout(None)
            with server:
                self._open |= {client, server}
                back = threading.Thread(target=_pass_on, args=(server, client), daemon=True)
                back.start()
                _pass_on(client, server)
                back.join()
                self._open -= {client, server}


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    """Pass bytes on until the source ends, then say so to the sink."""
    with contextlib.suppress(OSError):
        while block := source.recv(_BLOCK_BYTES):
            sink.sendall(block)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
