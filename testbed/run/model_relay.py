"""Connection of a node's program to a model server outside of its network namespace.

A node's host deliberately has no network but the emulated link. Requests to its model server bypass the
emulation: they pass through a Unix socket, as the management plane does, and a thread that relays the bytes.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path
from urllib.parse import urlsplit

SERVED = "openai:"  # prefix of the name of a served model (nodes/vlm/openai.py)
CONNECT_S = 10.0
_BLOCK_BYTES = 1 << 16
_PORTS = {"http": 80, "https": 443}


def server_of(model: str) -> tuple[str, int] | None:
    """Return host and port of the server of a model's name, or None if the model is not served.

    A malformed name gives None too: the station's program reports its fault.
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
    """A relay from a Unix socket to a server, one connection each, until either end closes.

    If the server cannot be reached, the connection is closed at once, which the client reports.

    Args:
        path: path of the Unix socket.
        host: host name or address of the server.
        port: TCP port of the server.
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
            self._listener.shutdown(socket.SHUT_RDWR)  # closing it would not wake the thread
        self._listener.close()
        for end in list(self._open):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError):  # its folder goes anyway
            self._path.unlink()

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
                with contextlib.suppress(OSError):  # who has left waits for no reply
                    server.shutdown(socket.SHUT_RDWR)
                back.join()
                self._open -= {client, server}


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    """Relay bytes until the source ends, then shut down the sink."""
    with contextlib.suppress(OSError):
        while block := source.recv(_BLOCK_BYTES):
            sink.sendall(block)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
