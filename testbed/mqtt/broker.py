"""An MQTT broker of one run: mosquitto with its own configuration, log and process."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol

from nodes.contract.files import write_atomically
from testbed.errors import TestbedError
from testbed.machine.system_path import find_program
from testbed.mqtt.accounts import Account, acl_lines, password_lines
from testbed.mqtt.certificates import Certificate

MAX_PACKET_BYTES = 2_000_000  # as mosquitto 2.1 has it by default
UNIX_PATH_LIMIT = 107  # struct sockaddr_un
PROBE = "PROBE"  # client id, and user name where there are accounts, of the look whether a broker answers
CONNACK = bytes.fromhex("20020000")
MQTT_CONNECT_TIMEOUT_S = 0.5


class BrokerError(TestbedError):
    """A broker did not start, or has ended; the text ends with what it logged."""


@dataclass(frozen=True, slots=True)
class TcpListener:
    """An address of the network namespace in which the broker runs."""

    address: str
    port: int = 1883
    tls: Certificate | None = None

    def lines(self) -> list[str]:
        """Its lines in mosquitto.conf."""
        lines = [f"listener {self.port} {self.address}"]
        if self.tls is not None:
            lines += [f"certfile {self.tls.certificate.resolve()}", f"keyfile {self.tls.key.resolve()}"]
        return lines


@dataclass(frozen=True, slots=True)
class UnixListener:
    """A socket file, reachable from every network namespace."""

    path: Path

    def lines(self) -> list[str]:
        """Its lines in mosquitto.conf."""
        return [f"listener 0 {self.path}"]


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
        accounts: who may connect and do what; None lets anybody in and do anything.

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
        accounts: Sequence[Account] | None = None,
    ) -> None:
        # Unix sockets last: when they accept, the others listen already.
        self._listeners = sorted(listeners, key=lambda listener: isinstance(listener, UnixListener))
        self._name = name
        self._popen = popen
        self._ready_timeout_s = ready_timeout_s
        self._probe = Account(PROBE, writes=(), reads=())
        self._accounts = None if accounts is None else [*accounts, self._probe]
        self._process: Process | None = None
        self._log_begin = 0  # of what this start's process logs
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
    def name(self) -> str:
        """Stem of its files."""
        return self._name

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
        self._write_config()
        with self.log_path.open("ab") as log:
            self._log_begin = log.tell()
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
            text = self.log_path.read_bytes()[self._log_begin :].decode(errors="replace")
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

    def _write_config(self) -> None:
        if self._accounts is not None:
            write_atomically(self._password_path, password_lines(self._accounts), private=True)
            write_atomically(self._acl_path, acl_lines(self._accounts), private=True)
        self.config_path.write_text(self._config(), encoding="utf-8")

    @property
    def _password_path(self) -> Path:
        return self.folder / f"{self._name}.passwords"

    @property
    def _acl_path(self) -> Path:
        return self.folder / f"{self._name}.acl"

    def _config(self) -> str:
        lines = [
            *(line for listener in self._listeners for line in listener.lines()),
            f"allow_anonymous {'true' if self._accounts is None else 'false'}",
            "persistence false",
            f"max_packet_size {MAX_PACKET_BYTES}",
            "max_queued_messages 10000",
            "set_tcp_nodelay true",
            "sys_interval 0",
            "log_dest stderr",
            "log_timestamp_format %Y-%m-%dT%H:%M:%S",
            *(f"log_type {kind}" for kind in ("error", "warning", "notice", "information")),
        ]
        if self._accounts is not None:
            lines.append(f"password_file {self._password_path.resolve()}")
            lines.append(f"acl_file {self._acl_path.resolve()}")
            lines.append("log_type debug")  # only there it says which publications it refused
        if os.geteuid() == 0:
            # Else it becomes the user mosquitto, who may not enter the run's folder.
            lines.append("user root")
        return "\n".join(lines) + "\n"

    def _spawn(self, log: IO[bytes]) -> Process:
        program = find_program("mosquitto")
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
            return _accepts(last.path, None if self._accounts is None else self._probe)
        # It may listen in a namespace that this process is not in; then only its log can tell.
        return " running" in self.log_tail()

    def _remove_sockets(self) -> None:
        for listener in self._listeners:
            if isinstance(listener, UnixListener):
                listener.path.unlink(missing_ok=True)


def _accepts(path: Path, account: Account | None) -> bool:
    """Whether a real MQTT CONNECT gets its CONNACK."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(MQTT_CONNECT_TIMEOUT_S)
        try:
            probe.connect(str(path))
            probe.sendall(_connect_packet(account))
            return probe.recv(len(CONNACK)) == CONNACK
        except OSError:
            return False


def _connect_packet(account: Account | None) -> bytes:
    """MQTT 3.1.1, 3.1: CONNECT with a clean session and a keepalive of 5 s."""
    texts = [PROBE] if account is None else [PROBE, account.username, account.password]
    flags = 0x02 if account is None else 0xC2
    payload = b"".join(len(text).to_bytes(2, "big") + text.encode() for text in texts)
    body = b"\x00\x04MQTT\x04" + bytes([flags]) + b"\x00\x05" + payload
    return b"\x10" + bytes([len(body)]) + body  # below 128 bytes, so that the length is one byte
