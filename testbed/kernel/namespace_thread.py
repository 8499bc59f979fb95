"""A network namespace and the thread that works in it.

The kernel looks at the calling thread's namespace for everything that matters here (netlink sockets,
/proc/sys/net, child processes), so work is handed to that thread and no other thread ever changes its
namespace.

An anonymous namespace has no name and no mount: only open file descriptors and threads of this process hold
it. When the process dies, even by SIGKILL, the kernel removes it with every bridge and veth.
"""

from __future__ import annotations

import ctypes
import logging
import os
import queue
import socket
import subprocess
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from testbed.kernel.errors import CapabilityError, LinkError

if TYPE_CHECKING:
    from typing_extensions import Self

_LOG = logging.getLogger(__name__)

CLONE_NEWNET = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)
_T = TypeVar("_T")


class NamespaceThread:
    """A network namespace and the thread that works in it; use `create()` or `enter()`.

    Every method may be called from any thread; calls run one after another.
    """

    def __init__(self, join: Callable[[], None], what: str) -> None:
        self._what = what
        self._tasks: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._fd = -1
        self._closed = False
        self._gate = threading.Lock()
        self._thread = threading.Thread(target=self._work, name=f"netns {what}", daemon=True)
        self._thread.start()
        try:
            self._fd = self.call(lambda: _join(join))
        except OSError as error:
            self.close()
            raise _namespace_error(what, error) from error

    @classmethod
    def create(cls, what: str = "new") -> Self:
        """Make an anonymous namespace that lives until `close()` or the end of this process.

        Args:
            what: name for messages.

        Raises:
            CapabilityError: not root.
        """
        space = cls(lambda: check_result(_libc.unshare(CLONE_NEWNET)), what)
        _LOG.debug("network namespace %s created", what)
        with suppress(OSError):
            # Where IPv6 is a module, the first IPv6 socket loads it, with its settings and its chatter;
            # better now than during a measurement.
            space.call(lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).close())
        return space

    @classmethod
    def enter(cls, path: str, what: str = "") -> Self:
        """Work in an existing namespace.

        Args:
            path: the namespace, such as /proc/PID/ns/net.
            what: name for messages.

        Raises:
            LinkError: there is no such namespace.
        """
        return cls(lambda: join_namespace(path), what or path)

    @property
    def path(self) -> str:
        """Path that any process may open for setns or nsenter, as long as this object is open."""
        return f"/proc/{os.getpid()}/fd/{self._fd}"

    def call(self, function: Callable[[], _T]) -> _T:
        """Run `function` in the namespace and return its result."""
        if threading.current_thread() is self._thread:
            return function()
        result: Future[_T] = Future()
        with self._gate:  # so that no task comes after the last
            if self._closed:
                raise LinkError(f"network namespace {self._what} is closed")
            self._tasks.put((result, function))
        return result.result()

    def close(self) -> None:
        """Leave the namespace; one made by `create()` ends with everything in it. May be called twice."""
        with self._gate:
            if self._closed:
                return
            self._closed = True
            self._tasks.put(None)
        self._thread.join()
        self._close_sockets()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def write_sysctl(self, name: str, value: str) -> None:
        """Write /proc/sys/net/`name` as this namespace sees it and read it back. Raises LinkError."""
        file = Path("/proc/sys/net", name)

        def write() -> str:
            file.write_text(value)
            return file.read_text().strip()

        try:
            held = self.call(write)
        except OSError as error:
            raise LinkError(f"cannot set {file} to {value}: {error.strerror}") from error
        if held != value:
            raise LinkError(f"{file} holds {held!r} after {value!r} was written to it")

    def read_sysctl(self, name: str) -> str | None:
        """Return the value of /proc/sys/net/`name` in this namespace, or None if there is no such file."""
        try:
            return self.call(Path("/proc/sys/net", name).read_text).strip()
        except FileNotFoundError:
            return None

    def run(self, arguments: Sequence[str], stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a program to its end inside the namespace; the caller checks its exit status."""
        return self.call(
            lambda: subprocess.run(arguments, input=stdin, capture_output=True, text=True, check=False)
        )

    def popen(self, arguments: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
        """Start a program inside the namespace.

        Its parent, for PR_SET_PDEATHSIG, is this namespace's thread, which ends with `close()`.
        """
        return self.call(lambda: subprocess.Popen(arguments, **options))

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            result, function = task
            try:
                result.set_result(function())
            except BaseException as error:  # raised in the caller's thread
                result.set_exception(error)
        self._close_in_thread()

    def _rejoin(self) -> None:
        """Move the calling thread, the namespace's own, back into the namespace."""
        check_result(_libc.setns(self._fd, CLONE_NEWNET))

    def _close_in_thread(self) -> None:
        """Close what belongs to the namespace's thread; runs there."""

    def _close_sockets(self) -> None:
        """Close the namespace's other sockets, after the thread has ended."""


def join_namespace(path: str) -> None:
    """Move the calling thread into a namespace. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        check_result(_libc.setns(fd, CLONE_NEWNET))
    finally:
        os.close(fd)


def check_result(result: int) -> None:
    """Raise OSError if a call of the C library has failed."""
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _join(join: Callable[[], None]) -> int:
    """Join, and return a descriptor of the thread's namespace."""
    join()
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _namespace_error(what: str, error: OSError) -> CapabilityError | LinkError:
    if isinstance(error, PermissionError):
        return CapabilityError(f"network namespace {what}: not permitted; run as root (sudo)")
    return LinkError(f"network namespace {what}: {error}")
