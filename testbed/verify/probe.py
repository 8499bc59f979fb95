"""The prober of `spaceverse verify`: a program that takes orders on stdin and sends and receives packets.

It has a UDP socket at each end of the link, so one clock (CLOCK_REALTIME of one kernel) stamps everything:
    sent       in user space, in the statement before the send call
    left       by the sending host's kernel, when it hands the frame to its veth (a packet socket there with
               SO_TIMESTAMPNS): the last step before the sky
    arrived    by the receiving host's kernel (SO_TIMESTAMPNS), when its veth hands the frame up: after the
               sky's port has let go of it, and before any program has to wake up
All of the sky lies between `left` and `arrived`, and nothing else: no program, no system call.  That is so
because all shaping is at the sky's ports.  A delay at the sender's own interface (Mininet's TCLink) comes
before `left`, and one at the receiver's own ingress after `arrived`: the kernels' stamps miss those, and
`sent` counts there. Both RTTs are shown, and the one by `sent` contains the other. An echo is stamped anew
when it is sent, so the time that this program takes to answer is no part of an RTT. There is one thread: only
another real-time program can run between a stamp and its send call. (SO_TIMESTAMPING would stamp frames as
they leave, but then every veth on the way stamps them and wakes this program just when the frame is to
arrive; with one processor the frame waits for that.)

`ping` is too coarse: it prints three significant digits, so 1 ms steps beyond 100 ms.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import select
import socket
import struct
import sys
import time
from array import array
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from testbed.kernel.timestamps import arrival_ns, stamp_arrivals

PORT = 47771
HEADERS_BYTES = 42  # Ethernet 14, IP 20, UDP 8
RTT_FRAME_BYTES = 64
_RTT_PAYLOAD_BYTES = RTT_FRAME_BYTES - HEADERS_BYTES
RECEIVE_AT_ONCE = 64
CATCH_UP_S = 0.02
LEISURE_S = 0.01

_PACKET = struct.Struct("!BBxxIQ")  # kind, order, sequence, sent (ns)
_RTT, _ECHO, _STREAM = 1, 2, 3
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE, _UDP_SEGMENT = 32, 33, 103
_MOST_SEGMENTS = 64  # of one send call: UDP_MAX_SEGMENTS
_BUFFER_BYTES = 16 << 20
_REAL_TIME_PRIORITY = 40  # below the shaper's


def open_socket() -> socket.socket:
    """Return a probe's socket, in the calling thread's network namespace."""
    probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    stamp_arrivals(probe)
    probe.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
    probe.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _BUFFER_BYTES)  # a frame counts until it has arrived
    probe.setblocking(False)
    probe.bind(("0.0.0.0", PORT))  # noqa: S104 - inside a host of our own namespace
    return probe


@dataclass
class Stream:
    """Packets one way, one every `interval_s`."""

    interval_s: float
    frame_bytes: int
    next_s: float = 0.0
    sent_ns: list[int] = field(default_factory=list)
    arrived: list[tuple[int, int]] = field(default_factory=list)  # sequence, ns; in the order of arrival

    def columns(self) -> list[array[int]]:
        """Return when each was sent; which arrived, in that order, and when."""
        arrived = [array("q", column) for column in zip(*self.arrived, strict=True)] or [array("q")] * 2
        return [array("q", self.sent_ns), *arrived]


Ends = tuple[socket.socket, socket.socket]


class Prober:
    """Both ends of one link.

    Args:
        ends: the sockets at the satellite and at the ground.
        taps: packet sockets there, see `open_probe_tap`.
        addresses: their IPv4 addresses.
    """

    def __init__(self, ends: Ends, taps: Ends, addresses: tuple[str, str]) -> None:
        self.ends, self.taps = ends, taps
        self.peers = ((addresses[1], PORT), (addresses[0], PORT))
        self.order = 0
        self.rtt: list[list[int]] = []
        self.streams: dict[int, Stream] = {}
        self.heard_s = 0.0  # when something last arrived

    def play(self, order: dict[str, Any]) -> list[array[int]]:
        """Probe for `for_s` seconds, then until everything has arrived or nothing arrives for `drain_s`.

        `rtt_s` is the mean interval of RTT probes (0: none; drawn from half to one and a half of it, so that
        no timer keeps in step), `count` ends them earlier; `down` and `up` are streams {interval_s,
        frame_bytes}, of which the first `train` packets are sent at once. For the first `leisure_s` nothing
        is read: the kernel stamps the packets anyway, and waking up for each frame of a flood would take a
        slow machine more time than carrying it.

        Returns the record: six times for each RTT probe (see `testbed.verify.link.Probed`), one probe after
        the other; then for each stream that was ordered three columns (see `Stream.columns`).
        """
        self._schedule(order["real_time"])
        self.order = (self.order + 1) % 256  # what a former order left on the way is not taken for this one's
        self._discard()
        self.rtt = []
        self.streams = {
            end: Stream(order[name]["interval_s"], order[name]["frame_bytes"])
            for end, name in enumerate(("down", "up"))
            if order.get(name)
        }
        for end, stream in self.streams.items():
            self._send_train(end, stream, order.get("train", 0))
        self._probe(order)
        for end, probe in enumerate(self.ends):  # a slow machine has not read what came in time
            while self._receive(end, probe):
                pass
        self._take_stamps()
        return [
            array("q", chain.from_iterable(self.rtt)),
            *(column for end in (0, 1) if end in self.streams for column in self.streams[end].columns()),
        ]

    def _probe(self, order: dict[str, Any]) -> None:
        begin_s = time.monotonic()
        for stream in self.streams.values():
            stream.next_s = begin_s
        rtt_s, count = order["rtt_s"], order.get("count") or sys.maxsize
        end_s = begin_s + order["for_s"]
        next_rtt_s = begin_s if rtt_s else float("inf")
        while (now_s := time.monotonic()) < (quiet_s := max(end_s, self.heard_s) + order["drain_s"]):
            if len(self.rtt) >= count:
                end_s, count = now_s, sys.maxsize
            wake_s = quiet_s
            if now_s < end_s:
                if now_s >= next_rtt_s:
                    self._send_rtt()
                    next_rtt_s = max(next_rtt_s, now_s - rtt_s / 2) + rtt_s * random.uniform(0.5, 1.5)  # noqa: S311
                for end, stream in self.streams.items():
                    self._send_stream(end, stream, now_s)
                wake_s = min(end_s, next_rtt_s, *(stream.next_s for stream in self.streams.values()))
            elif self._all_there():
                return
            if now_s < begin_s + order.get("leisure_s", 0):
                time.sleep(LEISURE_S)
            else:
                self._wait(wake_s)

    def _wait(self, until_s: float) -> None:
        """Wait for something to arrive, and take it."""
        wait_s = max(0.0, until_s - time.monotonic())
        # Few files are open here, and poll(2) would wait for whole milliseconds.
        readable = select.select([*self.ends, sys.stdin], [], [], wait_s)[0]
        if sys.stdin in readable:  # no order comes while one is played: our parent has gone
            raise SystemExit(0)
        for end, probe in enumerate(self.ends):
            if probe in readable:
                self._receive(end, probe)

    def _send_rtt(self) -> None:
        sequence = len(self.rtt)
        self.rtt.append([0] * 6)
        self.rtt[sequence][0] = self._send(0, _RTT, sequence, RTT_FRAME_BYTES)

    def _send_stream(self, end: int, stream: Stream, now_s: float) -> None:
        # After a stall no more than this at once: a burst would measure the queue's length.
        stream.next_s = max(stream.next_s, now_s - CATCH_UP_S)
        while stream.next_s <= now_s:
            stream.sent_ns.append(self._send(end, _STREAM, len(stream.sent_ns), stream.frame_bytes))
            stream.next_s += stream.interval_s

    def _send_train(self, end: int, stream: Stream, count: int) -> None:
        """Send packets faster than any link: the kernel cuts each send call's payload into frames.

        The cutting is done before the frames leave the host, whose offloads are off.
        """
        payload_bytes = stream.frame_bytes - HEADERS_BYTES
        at_once = min(_MOST_SEGMENTS, 60_000 // payload_bytes)
        if not count:
            return
        self.ends[end].setsockopt(socket.IPPROTO_UDP, _UDP_SEGMENT, payload_bytes)
        for first in range(0, count, at_once):
            now_ns = time.clock_gettime_ns(time.CLOCK_REALTIME)
            numbers = range(first, min(count, first + at_once))
            packets = [
                _PACKET.pack(_STREAM, self.order, n, now_ns).ljust(payload_bytes, b"\0") for n in numbers
            ]
            self.ends[end].sendto(b"".join(packets), self.peers[end])
            stream.sent_ns += [now_ns] * len(packets)
        self.ends[end].setsockopt(socket.IPPROTO_UDP, _UDP_SEGMENT, 0)

    def _send(self, end: int, kind: int, sequence: int, frame_bytes: int) -> int:
        header = _PACKET.pack(
            kind, self.order, sequence, sent_ns := time.clock_gettime_ns(time.CLOCK_REALTIME)
        )
        with contextlib.suppress(OSError):  # no carrier, or no room: it counts as sent, and does not arrive
            self.ends[end].sendto(header.ljust(frame_bytes - HEADERS_BYTES, b"\0"), self.peers[end])
        return sent_ns

    def _take_stamps(self) -> None:
        """Note when RTT probes and echoes left, from what the taps have kept."""
        for tap in self.taps:
            with contextlib.suppress(BlockingIOError):
                while True:
                    frame, ancillary, _, _ = tap.recvmsg(2048, 64)
                    kind, order, sequence, _ = _PACKET.unpack_from(frame, HEADERS_BYTES)
                    if order == self.order and sequence < len(self.rtt):
                        self.rtt[sequence][4 if kind == _RTT else 5] = arrival_ns(ancillary)

    def _receive(self, end: int, probe: socket.socket) -> bool:
        """Take what has arrived at one end, not too much at once; whether there may be more."""
        for _ in range(RECEIVE_AT_ONCE):
            try:
                data, ancillary, _, _ = probe.recvmsg(2048, 64)
            except BlockingIOError:
                return False
            self.heard_s = time.monotonic()
            arrived_ns = arrival_ns(ancillary)
            kind, order, sequence, _ = _PACKET.unpack_from(data)
            if order != self.order:
                continue
            if kind == _STREAM:
                self.streams[1 - end].arrived.append((sequence, arrived_ns))
            elif kind == _RTT:
                self.rtt[sequence][1] = arrived_ns
                self.rtt[sequence][2] = self._send(end, _ECHO, sequence, RTT_FRAME_BYTES)
            else:
                self.rtt[sequence][3] = arrived_ns
        return True

    def _all_there(self) -> bool:
        return all(probe[3] for probe in self.rtt) and all(
            len(stream.arrived) >= len(stream.sent_ns) for stream in self.streams.values()
        )

    def _discard(self) -> None:
        """Throw away what has arrived since the last order."""
        for one in (*self.ends, *self.taps):
            with contextlib.suppress(BlockingIOError):
                while True:
                    one.recv(2048)

    def _schedule(self, real_time: bool) -> None:
        # Not under a flood: a real-time program that never sleeps starves what the kernel does in threads.
        policy = os.SCHED_FIFO if real_time else os.SCHED_OTHER
        with contextlib.suppress(OSError):  # not allowed everywhere; the figures are then a little noisier
            os.sched_setscheduler(0, policy, os.sched_param(_REAL_TIME_PRIORITY if real_time else 0))


def main() -> int:
    """Answer each order (a line of JSON on stdin) with its record.

    That is a line of the columns' lengths in JSON, and then the columns, as int64: to read many thousand
    numbers as text would keep a guest's one processor for a tenth of a second.
    """
    parser = argparse.ArgumentParser(prog="python -m testbed.verify.probe", description=main.__doc__)
    parser.add_argument("--fds", type=int, nargs=2, required=True, help="sockets at satellite and ground")
    parser.add_argument("--taps", type=int, nargs=2, required=True, help="packet sockets there")
    parser.add_argument("--addresses", nargs=2, required=True, help="their IPv4 addresses")
    arguments = parser.parse_args()
    satellite, ground, *taps = (socket.socket(fileno=fd) for fd in arguments.fds + arguments.taps)
    prober = Prober((satellite, ground), (taps[0], taps[1]), tuple(arguments.addresses))
    # Unbuffered, so that select sees what readline has not taken.
    with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as orders:
        while line := orders.readline():
            record = prober.play(json.loads(line))
            sys.stdout.buffer.write(json.dumps([len(column) for column in record]).encode() + b"\n")
            sys.stdout.buffer.writelines(record)
            sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
