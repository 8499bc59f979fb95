"""An MQTT broker of one run: mosquitto with its own configuration, log and process."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol

from nodes.contract.files import tail, write_atomically
from testbed.errors import TestbedError
from testbed.machine.disk import disk_problem
from testbed.machine.system_path import find_program
from testbed.mqtt.accounts import Account, acl_lines, password_lines
from testbed.mqtt.certificates import Certificate

_LOG = logging.getLogger(__name__)

MAX_PACKET_BYTES = 2_000_000  # the default of mosquitto 2.1
LOG_TAIL_BYTES = 8192
UNIX_PATH_LIMIT = 107  # struct sockaddr_un
QUEUED_MAX = 100_000
QUEUED_MAX_BYTES = 256 << 20
PROBE = "PROBE"  # client id (and user name, if there are accounts) of the check that a broker answers
CONNACK = bytes.fromhex("20020000")
MQTT_CONNECT_TIMEOUT_S = 0.5


class BrokerError(TestbedError):
    """A broker did not start, or has ended; the text ends with its last log lines."""


@dataclass(frozen=True, slots=True)
class TcpListener:
    """A TCP address in the network namespace of the broker, optionally with TLS, or over WebSockets."""

    address: str
    port: int = 1883
    tls: Certificate | None = None
    websockets: bool = False

    def lines(self) -> list[str]:
        """Its lines in mosquitto.conf."""
        lines = [f"listener {self.port} {self.address}"]
        if self.websockets:
            lines.append("protocol websockets")
        if self.tls is not None:
            lines += [f"certfile {self.tls.certificate.resolve()}", f"keyfile {self.tls.key.resolve()}"]
            lines.append("tls_version tlsv1.3")  # as the nodes require (nodes/runtime/mqtt.py)
        return lines


@dataclass(frozen=True, slots=True)
class UnixListener:
    """A Unix socket, reachable from every network namespace."""

    path: Path

    def lines(self) -> list[str]:
        """Its lines in mosquitto.conf."""
        return [f"listener 0 {self.path}"]


class Process(Protocol):
    """The required methods of a process; both subprocess.Popen and Mininet's popen return one."""

    pid: int

    def poll(self) -> int | None:
        """Return the exit status; None while it runs."""

    def terminate(self) -> None:
        """Send SIGTERM."""

    def kill(self) -> None:
        """Send SIGKILL."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the exit status."""


class Broker:
    """A mosquitto process that runs for the duration of a `with` block.

    Args:
        folder: Folder of its configuration and log; created if missing.
        listeners: At least one listener; a UnixListener can be checked from any namespace.
        name: Stem of the names of its files.
        popen: Starts the process; pass `host.popen` of a Mininet host to run it on that host.
        ready_timeout_s: Time limit until it accepts connections, seconds.
        accounts: Accounts with their permissions; None allows everything to everybody.

    Attributes:
        folder: Folder of its files.
        config_path: Its configuration.
        log_path: Its log.

    Raises:
        BrokerError: mosquitto is missing, an address is unavailable, or a socket path is too long.
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
        # Unix sockets last: when they accept connections, the others do already.
        self._listeners = sorted(listeners, key=lambda listener: isinstance(listener, UnixListener))
        self._name = name
        self._popen = popen
        self._ready_timeout_s = ready_timeout_s
        self._probe = Account(PROBE, writes=(), reads=())
        self._accounts = None if accounts is None else [*accounts, self._probe]
        self._process: Process | None = None
        self._written = False  # whether its files are whole
        self._log_begin = 0  # start of the current process's log lines
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
        """Stem of the names of its files."""
        return self._name

    @property
    def pid(self) -> int | None:
        """Process id between start and stop; else None."""
        return self._process.pid if self._process is not None else None

    @property
    def running(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def reachable(self) -> bool:
        """Whether its Unix sockets are where clients look for them."""
        return all(one.path.exists() for one in self._listeners if isinstance(one, UnixListener))

    def start(self) -> None:
        """Write the configuration, start mosquitto, and wait until it accepts connections.

        Raises:
            BrokerError: it ended, or was not ready in time.
        """
        if self.running:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._remove_sockets()
            for listener in self._listeners:
                if isinstance(listener, UnixListener):  # whose folder somebody may have removed
                    listener.path.parent.mkdir(mode=0o700, exist_ok=True)
            self._write_config()
            with self.log_path.open("ab") as log:
                self._log_begin = log.tell()
                self._process = self._spawn(log)
        except OSError as error:
            place = Path(str(error.filename or self.log_path))
            raise BrokerError(f"broker {self._name}: {disk_problem(place, error)}") from error
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the process; may be called twice."""
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
        with suppress(OSError):  # a disk that is read-only now must not hide how the run went
            self._remove_sockets()

    def ending(self) -> str:
        """Return the signal that killed it, as the beginning of a sentence about its log; "" for none."""
        code = None if self._process is None else self._process.poll()
        if code is None or code >= 0:
            return ""
        name = {number.value: number.name for number in signal.Signals}.get(-code, f"signal {-code}")
        limit = ", for its log reached the limit of file sizes (ulimit -f)" if name == "SIGXFSZ" else ""
        return f"killed by {name}{limit}; "

    def cut_log(self) -> None:
        """Remove the log's lines so far: a flood of messages, each of them logged, must not fill the disk.

        Raises:
            OSError: they cannot be removed.
        """
        os.truncate(self.log_path, 0)  # mosquitto appends
        self._log_begin = 0

    def log_tail(self, lines: int = 5) -> str:
        """Return the last lines of its log, joined into one."""
        try:
            text = tail(self.log_path, LOG_TAIL_BYTES, self._log_begin).decode(errors="replace")
        except OSError:
            return "no log"
        return " | ".join(text.splitlines()[-lines:]) or "empty log"

    def __enter__(self) -> Broker:
        self.start()
        _LOG.info(
            "broker %s listens on %s",
            self._name,
            ", ".join(listener.lines()[0] for listener in self._listeners),
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _write_config(self) -> None:
        """Write its files; those of an earlier start do where the disk is full."""
        try:
            if self._accounts is not None:
                write_atomically(self._password_path, password_lines(self._accounts), private=True)
                write_atomically(self._acl_path, acl_lines(self._accounts), private=True)
            write_atomically(self.config_path, self._config())
        except OSError:
            if not self._written:
                raise
        self._written = True

    @property
    def _password_path(self) -> Path:
        return self.folder / f"{self._name}.passwords"

    @property
    def _acl_path(self) -> Path:
        return self.folder / f"{self._name}.acl"

    def _config(self) -> str:
        # Otherwise any account could end the session of another by taking its client id. Per listener.
        bound = [] if self._accounts is None else ["use_username_as_clientid true"]
        lines = [
            *(line for listener in self._listeners for line in [*listener.lines(), *bound]),
            f"allow_anonymous {'true' if self._accounts is None else 'false'}",
            "persistence false",
            f"max_packet_size {MAX_PACKET_BYTES}",
            # For a reader that pauses while somebody floods it: messages of everybody are lost beyond these.
            f"max_queued_messages {QUEUED_MAX}",
            f"max_queued_bytes {QUEUED_MAX_BYTES}",
            "set_tcp_nodelay true",
            "sys_interval 0",
            "log_dest stderr",
            "log_timestamp_format %Y-%m-%dT%H:%M:%S",
            *(f"log_type {kind}" for kind in ("error", "warning", "notice", "information")),
        ]
        if self._accounts is not None:
            lines.append(f"password_file {self._password_path.resolve()}")
            lines.append(f"acl_file {self._acl_path.resolve()}")
            lines.append("log_type debug")  # the only type that reports refused publications
        if os.geteuid() == 0:
            # By default it becomes the user mosquitto, who may not enter the run's folder.
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
                raise BrokerError(
                    f"broker {self._name}: mosquitto ended right after its start: {self.log_tail()}"
                )
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
        # It may listen in another network namespace, so only its log shows that it is ready.
        return " running" in self.log_tail()

    def _remove_sockets(self) -> None:
        for listener in self._listeners:
            if isinstance(listener, UnixListener):
                listener.path.unlink(missing_ok=True)


def _accepts(path: Path, account: Account | None) -> bool:
    """Return whether an MQTT CONNECT is answered by a CONNACK."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(MQTT_CONNECT_TIMEOUT_S)
        try:
            probe.connect(str(path))
            probe.sendall(_connect_packet(account))
            return probe.recv(len(CONNACK)) == CONNACK
        except OSError:
            return False


def _connect_packet(account: Account | None) -> bytes:
    """Return a CONNECT packet (MQTT 3.1.1, 3.1) with a clean session and a keepalive of 5 s."""
    texts = [PROBE] if account is None else [PROBE, account.username, account.password]
    flags = 0x02 if account is None else 0xC2
    payload = b"".join(len(text).to_bytes(2, "big") + text.encode() for text in texts)
    body = b"\x00\x04MQTT\x04" + bytes([flags]) + b"\x00\x05" + payload
    return b"\x10" + bytes([len(body)]) + body  # below 128 bytes, so the length takes one byte
