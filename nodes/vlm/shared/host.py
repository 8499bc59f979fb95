"""Accepts connections and hands each to the process of its model."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

from nodes.contract.models.options import ModelOptions
from nodes.vlm.shared.serve import ModelServer
from nodes.vlm.shared.wire import receive

HELLO_WITHIN_S = 10.0
Key = tuple[str, ModelOptions, tuple[tuple[str, int, int], ...]]


class ModelHost:
    """One process for each model and way to run it, forked from this one at the first request.

    This process must have one thread, and must not have computed with torch: a fork takes no other threads
    along. A model whose files have changed is another model.

    Args:
        listener: Socket on which nodes connect.
        serve: What the process of a model does with its model, its options and the socket over which its
            connections come.
    """

    def __init__(
        self,
        listener: socket.socket,
        serve: Callable[[str, ModelOptions, socket.socket], None] | None = None,
    ) -> None:
        self._listener = listener
        self._serve = serve or _serve_model
        self._processes: dict[Key, socket.socket] = {}

    def serve_forever(self) -> None:
        """Hand over connections until the process is ended; the models' processes end with it."""
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # ended processes of models need no waiting for
        while True:
            connection, _ = self._listener.accept()
            with connection:
                try:
                    connection.settimeout(HELLO_WITHIN_S)
                    hello = receive(connection)
                    connection.settimeout(None)
                    options = ModelOptions.model_validate(hello["options"])
                    self._hand_over(connection, str(hello["model"]), options)
                except (OSError, EOFError, TypeError, KeyError, ValueError):
                    continue  # it sees its connection closed

    def _hand_over(self, connection: socket.socket, model: str, options: ModelOptions) -> None:
        key = (model, options, _files(Path(model)))
        for _ in range(2):
            process = self._processes.get(key)
            if process is None:
                process = self._processes[key] = self._fork(model, options)
            try:
                socket.send_fds(process, [b"+"], [connection.fileno()])
                return
            except OSError:  # it has died
                self._processes.pop(key).close()

    def _fork(self, model: str, options: ModelOptions) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if os.fork() != 0:
            theirs.close()
            return ours
        status = 1
        try:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for other in (self._listener, ours, *self._processes.values()):
                other.close()
            self._serve(model, options, theirs)
            status = 0
        finally:
            os._exit(status)  # without the parent's own end


def _serve_model(model: str, options: ModelOptions, control: socket.socket) -> None:
    ModelServer(model, options).serve_connections_of(control)


def _files(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Return name, size and time of change of a model's files; nothing for a hub name."""
    if not folder.is_dir():
        return ()
    states = ((path.name, path.stat()) for path in folder.iterdir() if path.is_file())
    return tuple(sorted((name, state.st_size, state.st_mtime_ns) for name, state in states))
