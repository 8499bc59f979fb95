"""The network and mount namespaces of an emulated host."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

from testbed.kernel.namespace import NetworkNamespace
from testbed.kernel.namespace_thread import CLONE_NEWNET, check_result

CLONE_NEWNS = 0x00020000
# linux/mount.h
MS_REC = 0x4000
MS_PRIVATE = 1 << 18

_libc = ctypes.CDLL(None, use_errno=True)


class HostNamespace(NetworkNamespace):
    """A network namespace with a /sys of its own, as programs in a host see it.

    The thread that works in it is in its mount namespace, too, so programs that `call` starts are in both.
    """

    @classmethod
    def make(cls, what: str) -> HostNamespace:
        """Make the namespaces; they live until `close()` or the end of this process.

        Args:
            what: name for messages.

        Raises:
            CapabilityError: not root.
            LinkError: the kernel cannot make them.
        """
        space = cls(_unshare, what)
        space.set_up("lo", True)
        return space

    @contextmanager
    def descriptors(self) -> Iterator[list[int]]:
        """Open descriptors of the network and the mount namespace, for setns(2)."""
        paths = ("/proc/thread-self/ns/net", "/proc/thread-self/ns/mnt")
        opened = self.call(lambda: [os.open(path, os.O_RDONLY | os.O_CLOEXEC) for path in paths])
        try:
            yield opened
        finally:
            for descriptor in opened:
                os.close(descriptor)

    def release(self) -> None:
        """End everything in the namespaces, and keep `path` from leading to others until `close`."""
        fd, self._fd = self._fd, -1  # so that `close` leaves it open
        super().close()
        if fd >= 0:
            nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            os.dup2(nothing, fd, inheritable=False)
            os.close(nothing)
            self._fd = fd

    def close(self) -> None:
        """Let the namespaces go; `path` may lead to others from now on. May be called twice."""
        super().close()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _unshare() -> None:
    check_result(_libc.unshare(CLONE_NEWNET | CLONE_NEWNS))
    check_result(_libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None))
    # /sys shows the namespace in which it was mounted.
    check_result(_libc.mount(b"sysfs", b"/sys", b"sysfs", 0, None))
