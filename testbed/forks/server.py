"""The process that forks programs: `python -m testbed.forks.server`, run by `testbed.forks.forks.Forks`.

A node's program takes most of a second and 50 MB to import what it needs. Here that happens once: each
program is a fork, which begins within milliseconds and shares the memory that none of them changes.

A program is a module with a function `main` that returns the exit status. It runs in a session of its own,
ends with this process, and this process ends with its control socket.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import importlib
import os
import select
import signal
import socket
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import msgpack
from setproctitle import setproctitle

PR_SET_PDEATHSIG = 1
EXIT_CRASHED = 1
ORDER_MAX_BYTES = 1 << 17
_libc = ctypes.CDLL(None, use_errno=True)


class Server:
    """Serves one control socket; every message is one packet.

    start: id, module, arguments, environment, folder; with descriptors of its output and of the namespaces to
        join. The reply has the id, and the process id or an error.
    reap: process id of a program whose end was told.

    Args:
        control: the socket.
    """

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._children: dict[int, int] = {}  # descriptor of each running child's end, process id
        self._poll = select.poll()
        self._poll.register(control.fileno(), select.POLLIN)

    def serve(self) -> None:
        """Serve until the control socket is closed at the other end."""
        while True:
            for descriptor, _ in self._poll.poll():
                if descriptor != self._control.fileno():
                    self._tell_end(descriptor)
                elif not self._obey():
                    return

    def _obey(self) -> bool:
        packed, descriptors, _, _ = socket.recv_fds(self._control, ORDER_MAX_BYTES, 8)
        if not packed:
            return False
        try:
            order = msgpack.unpackb(packed)
            if "reap" in order:
                os.waitpid(order["reap"], 0)
                return True
            try:
                self._control.send(msgpack.packb({"id": order["id"], "pid": self._start(order, descriptors)}))
            except OSError as error:
                self._control.send(msgpack.packb({"id": order["id"], "error": str(error)}))
        finally:
            for one in descriptors:
                os.close(one)
        return True

    def _start(self, order: dict[str, Any], descriptors: list[int]) -> int:
        ours = os.getpid()
        leads, tell = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                _become(order, descriptors, ours, tell)
            except BaseException:  # a signal whose handler raises came as the program ended
                os._exit(EXIT_CRASHED)
        os.close(tell)
        os.read(leads, 1)  # from here on its process id is its session's and group's, and can be signalled
        os.close(leads)
        ended = os.pidfd_open(pid)
        self._children[ended] = pid
        self._poll.register(ended, select.POLLIN)
        return pid

    def _tell_end(self, descriptor: int) -> None:
        self._poll.unregister(descriptor)
        pid = self._children.pop(descriptor)
        os.close(descriptor)
        found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # its id stays taken until it is reaped
        assert found is not None  # noqa: S101 - it has ended
        code = found.si_status if found.si_code == os.CLD_EXITED else -found.si_status
        self._control.send(msgpack.packb({"pid": pid, "code": code}))


def _become(order: dict[str, Any], descriptors: list[int], parent: int, tell: int) -> NoReturn:
    """Become the program of an order, and close `tell` once it leads its session; runs in the child."""
    status = EXIT_CRASHED
    try:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(EXIT_CRASHED)
        os.setsid()
        os.close(tell)
        output, *namespaces = descriptors
        for namespace in namespaces:
            if _libc.setns(namespace, 0) != 0:
                raise OSError(ctypes.get_errno(), "setns")
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.closerange(3, max(int(name) for name in os.listdir("/proc/self/fd")) + 1)  # noqa: PTH208
        os.chdir(order["folder"])  # a change of the mount namespace has changed it, too
        name, arguments = order["module"], order["arguments"]
        setproctitle(" ".join([sys.executable, "-m", name, *arguments]))  # takes the place of the environment
        os.environ.clear()
        os.environ.update(order["environment"])
        sys.argv = [name, *arguments]
        status = importlib.import_module(name).main()
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else EXIT_CRASHED
    except BaseException:  # as the interpreter does
        traceback.print_exc()
    finally:
        # A program is told to end more than once; from here on, that would end up in the server's own code.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status or 0)


def main() -> int:
    """Entry point of the process."""
    parser = argparse.ArgumentParser(description="Forks programs; started by the testbed, not by hand.")
    parser.add_argument("--control-fd", type=int, required=True, help="socket that orders come in by")
    parser.add_argument("modules", nargs="+", help="what to import before the first fork")
    arguments = parser.parse_args()
    setproctitle(f"{sys.executable} -m testbed.forks.server")  # without the names of programs
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the run, which closes us in its order
    with socket.socket(fileno=arguments.control_fd) as control:
        for name in arguments.modules:
            importlib.import_module(name)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        gc.collect()
        gc.freeze()  # or collections in the children would write to all that they share
        control.send(msgpack.packb({"ready": Path(sys.executable).name}))
        Server(control).serve()
    return 0


if __name__ == "__main__":
    sys.exit(main())
