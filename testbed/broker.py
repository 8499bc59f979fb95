"""An MQTT broker of one run: mosquitto with its own configuration, log and process."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol

from testbed.errors import TestbedError

MAX_PACKET_BYTES = 2_000_000  # as mosquitto 2.1 has it by default
UNIX_PATH_LIMIT = 107  # struct sockaddr_un
CONNECT = bytes.fromhex("100f00044d51545404020005") + b"\x00\x03svt"
CONNACK = bytes.fromhex("20020000")
MQTT_CONNECT_TIMEOUT_S = 0.5


class BrokerError(TestbedError):
    """A broker did not start, or has ended; the text ends with what it logged."""


@dataclass(frozen=True, slots=True)
class TcpListener:
    """An address of the network namespace in which the broker runs."""

    address: str
    port: int = 1883

    def line(self) -> str:
        """Its line in mosquitto.conf."""
        return f"listener {self.port} {self.address}"


@dataclass(frozen=True, slots=True)
class UnixListener:
    """A socket file, reachable from every network namespace."""

    path: Path

    def line(self) -> str:
        """Its line in mosquitto.conf."""
        return f"listener 0 {self.path}"


class Process(Protocol):
    """What is needed of a started process; subprocess.Popen and Mininet's popen both give it."""

    pid: int

    def poll(self) -> int | None:
        """Exit status, or None while it runs."""

    def terminate(self) -> None:
        """Send SIGTERM."""

    def kill(self) -> None:
        """Send SIGKILL."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end."""


class Broker:
    """A mosquitto that lives as long as the `with` block.

    Args:
        folder: where its configuration and log go; made if missing.
        listeners: where it listens, at least one; a UnixListener can be probed from any namespace.
        name: stem of its files.
        popen: starts the process; pass `host.popen` of a Mininet host to run it there.
        ready_timeout_s: how long it may take to accept connections.

    Raises:
        BrokerError: mosquitto is missing, an address cannot be had, a socket path is too long.
    """

    def __init__(
        self,
        folder: Path,
        listeners: Sequence[TcpListener | UnixListener],
        *,
        name: str = "broker",
        popen: Callable[..., Any] = subprocess.Popen,
        ready_timeout_s: float = 5.0,
    ) -> None:
        # Unix sockets last: when they accept, the others listen already.
        self._listeners = sorted(listeners, key=lambda listener: isinstance(listener, UnixListener))
        self._name = name
        self._popen = popen
        self._ready_timeout_s = ready_timeout_s
        self._process: Process | None = None
        self.folder = folder
        self.config_path = folder / f"{name}.conf"
        self.log_path = folder / f"{name}.log"
        for listener in self._listeners:
            if isinstance(listener, UnixListener) and len(os.fsencode(listener.path)) > UNIX_PATH_LIMIT:
                raise BrokerError(
                    f"broker {name}: socket path {listener.path} is longer than {UNIX_PATH_LIMIT} bytes; "
                    "choose a shorter folder"
                )

    @property
    def pid(self) -> int | None:
        """Process id while it was started and not stopped."""
        return self._process.pid if self._process is not None else None

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Write the configuration, start mosquitto, wait until it accepts connections. Raises BrokerError."""
        if self.running:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        self._remove_sockets()
        self.config_path.write_text(self._config(), encoding="utf-8")
        with self.log_path.open("wb") as log:
            self._process = self._spawn(log)
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the process that was started, and no other; may be called twice."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(timeout=3.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(timeout=3.0)
        self._remove_sockets()

    def log_tail(self, lines: int = 5) -> str:
        """The last lines that it logged, in one line."""
        try:
            text = self.log_path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return "no log"
        return " | ".join(text.splitlines()[-lines:]) or "empty log"

    def __enter__(self) -> Broker:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _config(self) -> str:
        lines = [
            *(listener.line() for listener in self._listeners),
            # The namespaces are private to the run; credentials come with the hardening of the links.
            "allow_anonymous true",
            "persistence false",
            f"max_packet_size {MAX_PACKET_BYTES}",
            "max_queued_messages 10000",
            "set_tcp_nodelay true",
            "sys_interval 0",
            "log_dest stderr",
            "log_timestamp_format %Y-%m-%dT%H:%M:%S",
            *(f"log_type {kind}" for kind in ("error", "warning", "notice", "information")),
        ]
        if os.geteuid() == 0:
            # Else it becomes the user mosquitto, who may not enter the run's folder.
            lines.append("user root")
        return "\n".join(lines) + "\n"

    def _spawn(self, log: IO[bytes]) -> Process:
        # Debian puts it where only root's PATH looks.
        program = shutil.which("mosquitto", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
        if program is None:
            raise BrokerError(f"broker {self._name}: mosquitto is missing; run: apt-get install mosquitto")
        command = [program, "-c", str(self.config_path.resolve())]
        process: Process = self._popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return process

    def _wait_until_ready(self) -> None:
        until_s = time.monotonic() + self._ready_timeout_s
        while time.monotonic() < until_s:
            if not self.running:
                raise BrokerError(f"broker {self._name}: mosquitto ended at once: {self.log_tail()}")
            if self._ready():
                return
            time.sleep(0.02)
        raise BrokerError(
            f"broker {self._name}: not ready within {self._ready_timeout_s:g} s: {self.log_tail()}"
        )

    def _ready(self) -> bool:
        last = self._listeners[-1]
        if isinstance(last, UnixListener):
            return _accepts(last.path)
        # It may listen in a namespace that this process is not in; then only its log can tell.
        return " running" in self.log_tail()

    def _remove_sockets(self) -> None:
        for listener in self._listeners:
            if isinstance(listener, UnixListener):
                listener.path.unlink(missing_ok=True)


def _accepts(path: Path) -> bool:
    """Whether a real MQTT CONNECT gets its CONNACK."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(MQTT_CONNECT_TIMEOUT_S)
        try:
            probe.connect(str(path))
            probe.sendall(CONNECT)
            return probe.recv(len(CONNACK)) == CONNACK
        except OSError:
            return False
