"""Starts programs by forking them from a process that has imported them, see `server` beside this module."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import msgpack

from testbed.errors import TestbedError

if TYPE_CHECKING:
    from typing_extensions import Self

STARTS_WITHIN_S = 60.0  # starting Python takes seconds on a starved machine
ANSWERS_WITHIN_S = 20.0
LOOKS_EVERY_S = 0.01
KILLED = -signal.SIGKILL


class ForkedProcess:
    """A program that was forked, with the methods of `subprocess.Popen` that a run needs.

    Its process id is not given to another process before `poll` or `wait` has returned its exit code.

    Attributes:
        args: the command that would start it.
        pid: its process id, which is its session's and group's as well.
        returncode: its exit code once `poll` or `wait` has returned it.
    """

    def __init__(self, server: _ForkServer, args: list[str], pid: int) -> None:
        self.args, self.pid = args, pid
        self.returncode: int | None = None
        self._server = server

    def exit_code(self) -> int | None:
        """Return its exit code if it has ended, and keep its process id."""
        return self._server.code_of(self.pid) if self.returncode is None else self.returncode

    def poll(self) -> int | None:
        """Return its exit code if it has ended."""
        if self.returncode is None and (code := self._server.code_of(self.pid)) is not None:
            self.returncode = code
            self._server.reap(self.pid)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end and return its exit code.

        Raises:
            subprocess.TimeoutExpired: it has not ended within `timeout` seconds.
        """
        until_s = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if until_s is not None and time.monotonic() > until_s:
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
            time.sleep(LOOKS_EVERY_S)
        return code

    def send_signal(self, number: int) -> None:
        """Send it a signal if it runs."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send it SIGTERM if it runs."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send it SIGKILL if it runs."""
        self.send_signal(signal.SIGKILL)


class Forks:
    """A process that forks programs; a context manager that ends it and them. Any thread may use it.

    If the process dies, its programs end with it, and the next `start` makes another one.

    Args:
        modules: what it imports before its first fork, such as "nodes.satellite": the programs, and what they
            import when they need it.

    Attributes:
        modules: the same.
    """

    def __init__(self, modules: Sequence[str]) -> None:
        self.modules = frozenset(modules)
        self._order = list(modules)
        self._lock = threading.Lock()
        self._closed = False
        self._server = _ForkServer(modules)

    @property
    def pid(self) -> int:
        """Process id of the process that forks."""
        return self._server.pid

    def start(
        self,
        module: str,
        arguments: Sequence[str],
        output: int,
        *,
        namespaces: Sequence[int] = (),
        environment: dict[str, str] | None = None,
    ) -> ForkedProcess:
        """Start a program.

        Args:
            module: its module, which has a function `main`.
            arguments: command-line arguments.
            output: descriptor of the file for what it prints.
            namespaces: descriptors of the namespaces that it joins.
            environment: its environment; that of this process if None.

        Raises:
            TestbedError: it cannot be started.
        """
        order = {
            "module": module,
            "arguments": list(arguments),
            "environment": dict(os.environ if environment is None else environment),
            "folder": str(Path.cwd()),
        }
        server = self._living()
        try:
            reply = server.start(order, [output, *namespaces])
        except OSError as error:
            raise TestbedError(f"the process that forks programs has ended: {error}") from error
        if "pid" not in reply:
            raise TestbedError(f"{module} cannot be started: {reply['error']}")
        return ForkedProcess(server, [sys.executable, "-m", module, *arguments], reply["pid"])

    def close(self) -> None:
        """End the process and every program. May be called twice."""
        with self._lock:
            self._closed = True
            self._server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _living(self) -> _ForkServer:
        with self._lock:
            if self._closed:
                raise TestbedError("the process that forks programs is closed")
            if self._server.has_ended():
                self._server.close()
                self._server = _ForkServer(self._order)
            return self._server


class _ForkServer:
    """One process that forks programs; see `Forks`."""

    def __init__(self, modules: Sequence[str]) -> None:
        self._ids = itertools.count(1)
        self._codes: dict[int, int] = {}
        self._lock = threading.Lock()
        self.dead = False
        self._closing = ExitStack()
        with ExitStack() as building:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self._control = building.enter_context(ours)
            with theirs:
                command = ["setpriv", "--pdeathsig", "KILL", sys.executable, "-m", "testbed.forks.server"]
                self._process = subprocess.Popen(
                    [*command, "--control-fd", str(theirs.fileno()), *modules],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,
                )
            building.callback(self._end)
            self._ready = False
            self._closing = building.pop_all()

    @property
    def pid(self) -> int:
        """Process id of the process that forks."""
        return self._process.pid

    def start(self, order: dict[str, Any], descriptors: Sequence[int]) -> dict[str, Any]:
        """Send an order to start a program and return the reply. Raises OSError if the process has ended."""
        number = next(self._ids)
        with self._lock:
            try:
                self._await_ready()
                socket.send_fds(self._control, [msgpack.packb({**order, "id": number})], descriptors)
                return self._await_reply(number)
            except OSError:
                self.dead = True
                raise

    def has_ended(self) -> bool:
        """Return whether the process has ended."""
        self.dead = self.dead or self._process.poll() is not None
        return self.dead

    def code_of(self, pid: int) -> int | None:
        """Return the exit code of a program that has ended, -9 if all were killed; None while it runs."""
        with self._lock:
            while not self.dead and pid not in self._codes:
                try:
                    self._note(self._receive(0.0))
                except (TimeoutError, BlockingIOError):
                    break
                except OSError:
                    self.dead = True
            return self._codes.get(pid, KILLED if self.dead else None)

    def reap(self, pid: int) -> None:
        """Free the process id of a program whose exit code is known."""
        with self._lock, suppress(OSError):
            self._codes.pop(pid, None)
            self._control.settimeout(ANSWERS_WITHIN_S)
            self._control.send(msgpack.packb({"reap": pid}))

    def close(self) -> None:
        """End the process and every program. May be called twice."""
        self._closing.close()

    def _await_ready(self) -> None:
        while not self._ready:
            self._ready = "ready" in self._receive(STARTS_WITHIN_S)

    def _await_reply(self, number: int) -> dict[str, Any]:
        while True:
            reply = self._receive(ANSWERS_WITHIN_S)
            if reply.get("id") == number:
                return reply
            self._note(reply)

    def _receive(self, within_s: float) -> dict[str, Any]:
        self._control.settimeout(within_s)
        packed = self._control.recv(1 << 16)
        if not packed:
            raise ConnectionError("it has ended")
        message: dict[str, Any] = msgpack.unpackb(packed)
        return message

    def _note(self, message: dict[str, Any]) -> None:
        if "ready" in message:
            self._ready = True
        elif "code" in message:
            self._codes[message["pid"]] = message["code"]

    def _end(self) -> None:
        self.dead = True
        self._process.kill()  # the kernel ends the programs with it
        self._process.wait()
