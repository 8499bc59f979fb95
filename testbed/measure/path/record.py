"""Measures a live path between two machines, with UDP: what `spaceverse trace record` does at its two ends.

    client -- probe, 66 bytes, every 20 ms ---------> server       one-way delay up, loss up
           <- echo, 107 bytes -----------------------              one-way delay down, loss down
    client -- train of back-to-back frames ---------> server       rate up = frames / dispersion
           <- train, when asked ---------------------              rate down

Every packet is stamped by its sender in user space just before the call that sends it, and by the receiving
kernel as it arrives (SO_TIMESTAMPNS).  The server answers only who has shown, by the token of its welcome,
that packets reach the address it claims: nobody can aim a train at somebody else.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import socket
import struct
import time
from array import array
from collections.abc import Callable
from dataclasses import astuple, dataclass, field
from itertools import pairwise
from pathlib import Path

from testbed.errors import RecordError
from testbed.kernel.timestamps import arrival_ns, stamp_arrivals

PORT = 47771
PROBE_BYTES, ECHO_BYTES = 66, 107  # Ethernet frames: 42 bytes of headers below UDP
PROBE_EVERY_S = 0.02
TRAIN_EVERY_S = 0.5
TRAIN_S = 0.03
FRAME_BYTES, SLOW_FRAME_BYTES, SLOW_BIT_S = 1242, 314, 2e6
HELLO_EVERY_S = 0.2
MOST_FRAMES = 400
LAST_ECHO_S = 1.0

_HEADERS_BYTES = 42
_HEAD = struct.Struct("!4sIBxHI")  # magic, token, kind, count, sequence
_ECHO = struct.Struct("!QQI")  # arrival and answer (ns), probes that have arrived
# Of the last train: number, bits after its first frame, first and last arrival, time for the bits, and more.
_REPORT = struct.Struct("!IIQQQBH")
_INDEX = struct.Struct("!HHQ")  # of a frame of a train: index, frame's bytes, when it was sent (ns)
_MAGIC = b"SVR2"
_HELLO, _WELCOME, _PROBE, _ECHO_KIND, _TRAIN, _ASK = range(1, 7)


@dataclass(frozen=True, slots=True)
class Train:
    """A train at its receiver.

    Args:
        number: of the train.
        bits: after its first frame.
        first_ns, last_ns: first and last arrival.
        took_ns: how long the path took for the bits, by the median of the frames' distances: one frame that
            the machine let through late does not count.
        kept_up: each frame was sent before the one before it had passed; else the sender was the limit.
        spread_permille: by how much the middle half of the frames' distances differ.
    """

    number: int
    bits: int
    first_ns: int
    last_ns: int
    took_ns: int
    kept_up: bool = True
    spread_permille: int = 0

    @property
    def rate_bit_s(self) -> float:
        """Bits per second of the slowest part of the path."""
        return self.bits / self.took_ns * 1e9


@dataclass
class Measured:
    """What a client saw, all times in ns of CLOCK_REALTIME of the machine that took them.

    Args:
        same_clock: both ends ran on one machine since the same boot.
        start_ns, end_ns: of the recording.
        sent: number of probes sent, and their times by number.
        echoes: five int64 each: number of the probe, arrival there, answer, arrival here, arrived so far.
        up, down: trains.
    """

    same_clock: bool
    start_ns: int
    end_ns: int = 0
    sent_ns: array[int] = field(default_factory=lambda: array("q"))
    echoes: array[int] = field(default_factory=lambda: array("q"))
    up: list[Train] = field(default_factory=list)
    down: list[Train] = field(default_factory=list)


def boot_id() -> bytes:
    """Return 16 bytes that are the same in all namespaces of one running kernel, and in no other."""
    with contextlib.suppress(OSError, ValueError):
        text = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        return bytes.fromhex(text.strip().replace("-", ""))[:16].ljust(16, b"\0")
    return secrets.token_bytes(16)


def take_real_time() -> bool:
    """Ask for real-time priority, without which the stamps are a little late; tell whether it was given."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(40))
    except OSError:
        return False
    return True


class _TrainReader:
    """Gathers the frames of the train that is arriving."""

    def __init__(self) -> None:
        self._number = -1
        self._frame_bytes = 0
        self._frames: list[tuple[int, int, int]] = []  # index, sent, arrived

    def frame(self, number: int, index: int, frame_bytes: int, sent_ns: int, arrived_ns: int) -> None:
        if number != self._number:
            self._number, self._frame_bytes, self._frames = number, frame_bytes, []
        if len(self._frames) < MOST_FRAMES and (not self._frames or index > self._frames[-1][0]):
            self._frames.append((index, sent_ns, arrived_ns))

    def train(self) -> Train | None:
        """Return the train so far, or None if it cannot be timed; lost frames count with their time."""
        if len(self._frames) < 3:
            return None
        (first, _, first_ns), (last, _, last_ns) = self._frames[0], self._frames[-1]
        half = len(self._frames) // 2
        apart = sorted(
            (there[2] - here[2]) / (there[0] - here[0])
            for here, there in zip(self._frames, self._frames[half:], strict=False)
        )
        frame_ns = (apart[(len(apart) - 1) // 2] + apart[len(apart) // 2]) / 2
        took_ns = round(frame_ns * (last - first))
        if took_ns <= 0:
            return None
        bits = (last - first) * self._frame_bytes * 8
        spread = (apart[3 * (len(apart) - 1) // 4] - apart[(len(apart) - 1) // 4]) / frame_ns
        kept_up = self._kept_up(frame_ns)
        return Train(
            self._number, bits, first_ns, last_ns, took_ns, kept_up, min(round(1000 * spread), 65535)
        )

    def _kept_up(self, frame_ns: float) -> bool:
        """Tell whether each frame reached the path's narrowest part before the one before it had left."""
        quickest_ns = min(arrived - sent for _, sent, arrived in self._frames)
        return all(
            sent + quickest_ns - frame_ns <= before_arrived + frame_ns / 2
            for (_, _, before_arrived), (_, sent, _) in pairwise(self._frames)
        )


class _End:
    """A socket with stamps, and what both ends send."""

    def __init__(self, port: int, host: str = "") -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        stamp_arrivals(self.socket)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        try:
            self.socket.bind((host, port))
        except OSError as fault:
            self.socket.close()
            why = f"{fault.strerror}; choose another with --port"
            raise RecordError(f"cannot wait on UDP port {port}: {why}") from fault

    def receive(self, wait_s: float) -> tuple[bytes, int, tuple[str, int]] | None:
        """Return a packet, its arrival in ns and its sender; None after `wait_s` without one."""
        # Few files are open here, and poll(2) would wait for whole milliseconds.
        if not select.select([self.socket], [], [], max(0.0, wait_s))[0]:
            return None
        try:
            data, ancillary, _, sender = self.socket.recvmsg(2048, 64)
        except OSError:  # an ICMP error: nobody listens there, or not yet
            return None
        if len(data) < _HEAD.size or data[:4] != _MAGIC or not ancillary:
            return None
        return data, arrival_ns(ancillary), sender

    def send(self, body: bytes, to: tuple[str, int], frame_bytes: int = 0) -> None:
        with contextlib.suppress(OSError):  # no carrier, or a full buffer: the other end counts a loss
            self.socket.sendto(body.ljust(max(0, frame_bytes - _HEADERS_BYTES), b"\0"), to)

    def send_train(self, token: int, number: int, count: int, frame_bytes: int, to: tuple[str, int]) -> None:
        head = _HEAD.pack(_MAGIC, token, _TRAIN, count, number)
        for index in range(count):
            sent_ns = time.clock_gettime_ns(time.CLOCK_REALTIME)
            self.send(head + _INDEX.pack(index, frame_bytes, sent_ns), to, frame_bytes)


def serve(stopped: Callable[[], bool], *, host: str = "", port: int = PORT) -> None:
    """Answer one client after the other until `stopped()`.

    Raises:
        RecordError: the port is taken.
    """
    end = _End(port, host)
    with end.socket:
        tokens: dict[tuple[str, int], int] = {}
        arrived, reader = 0, _TrainReader()
        while not stopped():
            if (packet := end.receive(0.1)) is None:
                continue
            data, arrived_ns, sender = packet
            _, token, kind, count, number = _HEAD.unpack_from(data)
            if kind == _HELLO:
                if len(tokens) > 1000:
                    tokens.clear()
                token = tokens.setdefault(sender, secrets.randbits(32))
                arrived, reader = 0, _TrainReader()
                end.send(_HEAD.pack(_MAGIC, token, _WELCOME, 0, number) + boot_id(), sender)
            elif tokens.get(sender) != token:
                continue
            elif kind == _PROBE:
                arrived += 1
                train = reader.train() or Train(0, 0, 0, 0, 0)
                report = _REPORT.pack(*astuple(train))
                head = _HEAD.pack(_MAGIC, token, _ECHO_KIND, 0, number)
                answer_ns = time.clock_gettime_ns(time.CLOCK_REALTIME)
                end.send(head + _ECHO.pack(arrived_ns, answer_ns, arrived) + report, sender, ECHO_BYTES)
            elif kind == _TRAIN and len(data) >= _HEAD.size + _INDEX.size:
                index, frame_bytes, sent_ns = _INDEX.unpack_from(data, _HEAD.size)
                reader.frame(number, index, frame_bytes, sent_ns, arrived_ns)
            elif kind == _ASK and len(data) >= _HEAD.size + _INDEX.size:
                _, frame_bytes, _ = _INDEX.unpack_from(data, _HEAD.size)
                end.send_train(token, number, min(count, MOST_FRAMES), min(frame_bytes, FRAME_BYTES), sender)


class Client:
    """The end that decides what is sent when, and keeps what comes back.

    Args:
        host, port: the server's.
        stopped: asked now and then; True ends the recording early.
    """

    def __init__(self, host: str, port: int, stopped: Callable[[], bool]) -> None:
        try:
            address = socket.getaddrinfo(host, port, socket.AF_INET, socket.SOCK_DGRAM)[0][4]
        except OSError as fault:
            raise RecordError(f"cannot resolve {host!r}: {fault.strerror or fault}") from fault
        self._server = (str(address[0]), port)
        self._stopped = stopped
        self._end = _End(0)
        self._token = 0
        self._readers = _TrainReader()
        self._rates = {"up": 0.0, "down": 0.0}
        self._trains = 0

    def measure(self, for_s: float, patience_s: float) -> Measured:
        """Measure for `for_s` seconds, once the server answers.

        Raises:
            RecordError: no answer within `patience_s`.
        """
        with self._end.socket:
            same_clock = self._greet(patience_s)
            measured = Measured(same_clock, time.clock_gettime_ns(time.CLOCK_REALTIME))
            start_s = time.monotonic()
            self._run(measured, start_s, start_s + for_s)
            measured.end_ns = time.clock_gettime_ns(time.CLOCK_REALTIME)
            self._wait(measured, time.monotonic() + LAST_ECHO_S)
        return measured

    def _greet(self, patience_s: float) -> bool:
        give_up_s = time.monotonic() + patience_s
        while time.monotonic() < give_up_s and not self._stopped():
            self._end.send(_HEAD.pack(_MAGIC, 0, _HELLO, 0, 0), self._server)
            next_s = time.monotonic() + HELLO_EVERY_S
            while (left_s := next_s - time.monotonic()) > 0:
                packet = self._end.receive(left_s)
                if packet and packet[0][8] == _WELCOME and packet[2] == self._server:
                    self._token = _HEAD.unpack_from(packet[0])[1]
                    return packet[0][_HEAD.size : _HEAD.size + 16] == boot_id()
        where = f"{self._server[0]} port {self._server[1]}"
        what_to_do = "start `spaceverse trace record --listen` there"
        raise RecordError(f"no answer from {where} within {patience_s:g} s; {what_to_do}")

    def _run(self, measured: Measured, start_s: float, end_s: float) -> None:
        next_probe_s, next_up_s, next_down_s = start_s, start_s + 0.05, start_s + 0.05 + TRAIN_EVERY_S / 2
        while (now_s := time.monotonic()) < end_s and not self._stopped():
            if now_s >= next_probe_s:
                self._probe(measured)
                next_probe_s += PROBE_EVERY_S * max(1, int((now_s - next_probe_s) / PROBE_EVERY_S))
            if now_s >= next_up_s:
                self._trains += 1
                self._end.send_train(self._token, self._trains, *self._shape("up"), self._server)
                next_up_s += TRAIN_EVERY_S
            if now_s >= next_down_s:
                self._trains += 1
                count, frame_bytes = self._shape("down")
                head = _HEAD.pack(_MAGIC, self._token, _ASK, count, self._trains)
                self._end.send(head + _INDEX.pack(0, frame_bytes, 0), self._server)
                next_down_s += TRAIN_EVERY_S
            self._wait(measured, min(next_probe_s, next_up_s, next_down_s, end_s))

    def _shape(self, way: str) -> tuple[int, int]:
        """Return a train's frames and their size: 30 ms of the rate that was measured last, 8 to 300."""
        rate_bit_s = self._rates[way] or SLOW_BIT_S
        frame_bytes = FRAME_BYTES if rate_bit_s >= SLOW_BIT_S else SLOW_FRAME_BYTES
        return min(300, max(8, round(TRAIN_S * rate_bit_s / (frame_bytes * 8)) + 1)), frame_bytes

    def _probe(self, measured: Measured) -> None:
        number = len(measured.sent_ns)
        head = _HEAD.pack(_MAGIC, self._token, _PROBE, 0, number)
        measured.sent_ns.append(time.clock_gettime_ns(time.CLOCK_REALTIME))
        self._end.send(head, self._server, PROBE_BYTES)

    def _wait(self, measured: Measured, until_s: float) -> None:
        """Take in what comes until `until_s`."""
        while (left_s := until_s - time.monotonic()) > 0:
            if (packet := self._end.receive(left_s)) is not None and packet[2] == self._server:
                self._take(measured, packet[0], packet[1])

    def _take(self, measured: Measured, data: bytes, arrived_ns: int) -> None:
        _, token, kind, _, number = _HEAD.unpack_from(data)
        if token != self._token:
            return
        if kind == _ECHO_KIND and len(data) >= _HEAD.size + _ECHO.size + _REPORT.size:
            there_ns, answer_ns, arrived = _ECHO.unpack_from(data, _HEAD.size)
            measured.echoes.extend((number, there_ns, answer_ns, arrived_ns, arrived))
            report = _REPORT.unpack_from(data, _HEAD.size + _ECHO.size)
            number, bits, first_ns, last_ns, took_ns, kept_up, spread_permille = report
            if took_ns:
                train = Train(number, bits, first_ns, last_ns, took_ns, bool(kept_up), spread_permille)
                self._keep(measured.up, "up", train)
        elif kind == _TRAIN and len(data) >= _HEAD.size + _INDEX.size:
            index, frame_bytes, sent_ns = _INDEX.unpack_from(data, _HEAD.size)
            self._readers.frame(number, index, frame_bytes, sent_ns, arrived_ns)
            if (down := self._readers.train()) is not None:
                self._keep(measured.down, "down", down)

    def _keep(self, trains: list[Train], way: str, train: Train) -> None:
        """Keep the longest form of a train: it is reported while it still arrives."""
        if trains and trains[-1].number == train.number:
            trains[-1] = train
        else:
            trains.append(train)
        if train.kept_up or not self._rates[way]:
            self._rates[way] = train.rate_bit_s
