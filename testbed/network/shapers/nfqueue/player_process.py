"""One process that plays links, as seen by the shaper: orders, answers, and how it ended."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import msgpack

from testbed.errors import LinkError, ShaperDiedError
from testbed.kernel.namespace import NetworkNamespace

START_WITHIN_S = 60.0  # starting Python takes seconds on a starved virtual machine
ANSWER_WITHIN_S = 5.0


class PlayerProcess:
    """A running `testbed.network.shapers.nfqueue.process`; orders come from any thread.

    Args:
        sky: the namespace in which it works.

    Attributes:
        realtime: whether it has real-time priority.
        links: number of links that it plays.
    """

    def __init__(self, sky: NetworkNamespace) -> None:
        self.links = 0
        self._sky = sky
        self._lock = threading.Lock()
        self._death: str | None = None
        self._closing = ExitStack()
        with ExitStack() as building:
            self._stderr = building.enter_context(tempfile.TemporaryFile())
            self._process = self._start(building)
            self._control.settimeout(START_WITHIN_S)
            self.realtime = bool(self._receive()["realtime"])
            self._closing = building.pop_all()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def order(self, order: dict[str, Any]) -> dict[str, Any]:
        """Send an order and return the answer.

        Raises:
            ShaperDiedError: it has ended.
            LinkError: it does not answer.
        """
        with self._lock:
            self.check()
            try:
                self._control.send(msgpack.packb(order))
            except OSError:
                self._fail()
            self._control.settimeout(ANSWER_WITHIN_S)
            return self._receive()

    def check(self) -> None:
        """Raise ShaperDiedError if the process has ended."""
        if self._death is None and self._process.poll() is not None:
            self._death = self._describe_death()
        if self._death is not None:
            raise ShaperDiedError(self._death)

    def close(self) -> None:
        """End it; the kernel drops what it had parked. May be called twice."""
        if self._death is None:
            self._death = "the nfqueue shaper is closed"
        self._closing.close()

    def _start(self, building: ExitStack) -> subprocess.Popen[bytes]:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control = building.enter_context(ours)
        with theirs:
            arguments = [sys.executable, "-m", "testbed.network.shapers.nfqueue.process"]
            arguments += ["--control-fd", str(theirs.fileno()), "--parent-pid", str(os.getpid())]
            process = self._sky.popen(
                arguments,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._stderr,
                start_new_session=True,  # Ctrl-C is for the run, which closes us in its order
                env=_environment(),
            )
        building.callback(_end, process)
        return process

    def _receive(self) -> dict[str, Any]:
        try:
            packed = self._control.recv(1 << 17)
        except TimeoutError:
            # It is not asked again: each order would wait as long, and take a late answer for its own.
            self._death = (
                f"the nfqueue process (pid {self.pid}) did not answer within {self._control.gettimeout()} s"
            )
            raise LinkError(self._death) from None
        except OSError:
            packed = b""
        if not packed:
            self._fail()
        reply: dict[str, Any] = msgpack.unpackb(packed)
        return reply

    def _fail(self) -> None:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        self._death = self._describe_death()
        raise ShaperDiedError(self._death)

    def _describe_death(self) -> str:
        self._stderr.seek(0)
        said = self._stderr.read().decode(errors="replace").strip().splitlines()
        why = f": {said[-1]}" if said else ""
        return (
            f"the nfqueue process ended (status {self._process.returncode}){why}; its links drop every packet"
        )


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()  # nothing to save: what it parked is dropped either way
    process.wait()


def _environment() -> dict[str, str]:
    """Return our environment, with which the child finds this package and no file hides a module."""
    package_parent = str(Path(__file__).resolve().parents[4])
    path = os.pathsep.join([package_parent, *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}
