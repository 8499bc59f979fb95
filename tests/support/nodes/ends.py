"""Both ends of a transfer over a real mosquitto on loopback."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from nodes.contract import events as contract
from nodes.contract.config import MqttAccess, Station
from nodes.runtime.contact import CarrierWatch
from nodes.transfer.downlink import Downlink
from nodes.transfer.flow_control import chunk_size_bytes
from nodes.transfer.outbox import Outbox
from testbed.mqtt.accounts import Account
from testbed.network.programs import spawn
from tests.support.waiting import wait_for

GROUND_END = Path(__file__).with_name("ground_end.py")
Event = dict[str, Any]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Recorder:
    """Collects events."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: contract.Event, *, monotonic_s: float | None = None) -> None:
        at_s = time.monotonic() if monotonic_s is None else monotonic_s
        self.events.append({"event": event.event_name, "monotonic_s": at_s, **event.fields()})

    def of(self, event: str, **fields: object) -> list[Event]:
        return [e for e in list(self.events) if e["event"] == event and fields.items() <= e.items()]


class GroundEnd(Recorder):
    """Ground end as a process that can be killed and restarted with the same inbox."""

    def __init__(self, unix_socket: Path, inbox: Path, account: Account | None = None) -> None:
        super().__init__()
        self.inbox = inbox
        self.errors = inbox.with_name("ground-errors.txt")
        access = [account.username, account.password] if account is not None else []
        self._command = [sys.executable, str(GROUND_END), str(unix_socket), str(inbox), *access]
        self.start()

    def start(self) -> None:
        already = len(self.of("connected"))
        with self.errors.open("ab") as errors:
            self.process = spawn(self._command, stdout=subprocess.PIPE, stderr=errors)
        threading.Thread(target=self._read, args=(self.process,), daemon=True).start()
        wait_for(lambda: len(self.of("connected")) > already, "ground end")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def files(self) -> dict[bytes, int]:
        """Return the contents of the complete items with their counts."""
        contents = [path.read_bytes() for path in self.inbox.glob("*/*/data")]
        return {content: contents.count(content) for content in contents}

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with contextlib.suppress(ValueError):
            for line in process.stdout:
                self.events.append(json.loads(line))


class SatelliteEnd(Recorder):
    """Satellite end in this process; `rate_bit_s` sets sizes of chunks and window as on a real link."""

    def __init__(self, outbox: Path, port: int, rate_bit_s: float, account: Account | None = None) -> None:
        super().__init__()
        self._arguments = outbox, port, rate_bit_s
        self._access = None if account is None else MqttAccess(**account.to_json())
        self.start()

    def start(self) -> None:
        outbox, port, rate_bit_s = self._arguments
        self.outbox = Outbox(outbox, "sat", chunk_size_bytes(rate_bit_s))
        self.downlink = Downlink(
            satellite="Sat",
            stations={
                Station(name="Ground", host="127.0.0.1", port=port, access=self._access): CarrierWatch(None)
            },
            outbox=self.outbox,
            rate_bit_s=rate_bit_s,
            report=self,
        )
        self.downlink.start()

    def largest_window_bytes(self) -> int:
        """Return the largest window so far plus one chunk, for envelopes and manifests."""
        chunk_bytes = chunk_size_bytes(self._arguments[2])
        return self.downlink.window.largest_bytes + chunk_bytes

    def stop(self) -> None:
        self.downlink.stop()
        self.downlink.join(5)
        assert self.downlink.failure is None, repr(self.downlink.failure)

    def add_image(self, frame: str, image: Path, prompt: str = "what?") -> None:
        self.outbox.add_image(frame, image, {"prompt": prompt})
        self.downlink.wake()

    def add_answer(self, frame: str, answer: bytes) -> None:
        self.outbox.add_answer(frame, answer, {})
        self.downlink.wake()


class Relay(threading.Thread):
    """A line of `rate_bit_s` to the broker on loopback: relays TCP at that rate towards the broker.

    `cut` is the end of a contact where nobody watches the carrier: bytes stop, nothing is closed.
    """

    def __init__(self, broker_port: int, rate_bit_s: float) -> None:
        super().__init__(daemon=True)
        self._broker_port = broker_port
        self._rate_byte_s = rate_bit_s / 8
        self._open = threading.Event()
        self._open.set()
        self.bytes_down = 0
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen()
        self.port: int = self._listener.getsockname()[1]
        self.start()

    def cut(self) -> None:
        self._open.clear()

    def mend(self) -> None:
        self._open.set()

    def run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                try:
                    far = socket.create_connection(("127.0.0.1", self._broker_port))
                except OSError:
                    near.close()
                    continue
                threading.Thread(target=self._pump, args=(near, far, True), daemon=True).start()
                threading.Thread(target=self._pump, args=(far, near, False), daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _pump(self, source: socket.socket, sink: socket.socket, down: bool) -> None:
        due_s = time.monotonic()
        with contextlib.suppress(OSError):
            while data := source.recv(8192):
                if down:
                    self.bytes_down += len(data)
                    due_s = max(due_s, time.monotonic() - 0.05) + len(data) / self._rate_byte_s
                    time.sleep(max(0.0, due_s - time.monotonic()))
                self._open.wait()
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
