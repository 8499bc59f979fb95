"""A light probe of one link, run as a program in the hosts at its two ends.

Each packet is stamped by the sender in user space just before the send call, and by the receiving host's
kernel as it arrives (SO_TIMESTAMPNS), both on CLOCK_REALTIME of one machine. If the interface is known, the
kernel stamps RTT probes as they leave, too, so that the system call is no part of the error; that of an echo
is. The time that the echoing program takes is stamped and subtracted. Links are shaped in a namespace between
the hosts, so all stamps lie outside the link. The error contains the shaper's own lateness.

Two kinds of probe, both UDP:
    rtt     one 64-byte Ethernet frame there and back, four stamps; on one machine, where one clock makes
            them all, also the delay of each direction
    train   n back-to-back frames one way; (n - 1) frames / dispersion is the link's rate
A train lasts 20 ms at line rate (or is 100 packets long), and trains are so rare that together they stay
under `BUDGET`, 1 %, of that rate. RTT probes add 2 kbit/s each way. `load_bit_s` is the sum. Where scenario
time runs faster, both are as short and as frequent in it, down to `SHORTEST_TRAIN_S` and `RTT_AT_LEAST_S` of
real time. Records are of real time, see `testbed.measure.scenario_time`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import select
import signal
import socket
import struct
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from testbed.kernel.packet_socket import open_probe_tap
from testbed.kernel.timestamps import ANCILLARY_BYTES, arrival_ns, stamp_arrivals

PORT = 47770
RTT_FRAME_BYTES = 64  # Ethernet header 14 + IP 20 + UDP 8 + payload 22
TRAIN_FRAME_BYTES = 1242  # 14 + 20 + 8 + 1200
RTT_INTERVAL_S = 0.25
RTT_AT_LEAST_S = 0.05
TRAIN_INTERVAL_S = 2.0
SLOW_TRAIN_FRAME_BYTES = 314  # below SLOW_BIT_S, where a train of full frames would be in the way
SLOW_BIT_S = 2e6
TRAIN_LENGTH_S = 20e-3
SHORTEST_TRAIN_S = 5e-3
BUDGET = 0.01  # share of the line rate that trains may use
STEP_NS = 20_000_000  # of the wall clock; what adjusts it gradually changes less during a probe
LONGEST_WAIT_S = 30.0  # for an echo

# kind, count or 0, sequence, time sent (an echo: when the probe arrived), index or turnaround; ns
_HEADER = struct.Struct("!BxHIQI")
_RTT, _ECHO, _TRAIN = 1, 2, 3


@dataclass(frozen=True, slots=True)
class TrainShape:
    """Packets in a train, their Ethernet frames' size, and seconds between trains."""

    count: int
    frame_bytes: int
    interval_s: float

    @classmethod
    def for_rate(cls, rate_bit_s: float, speed: float = 1.0) -> TrainShape:
        """Return the shape for a rate: short enough not to disturb, long enough to be timed."""
        frame_bytes = TRAIN_FRAME_BYTES if rate_bit_s >= SLOW_BIT_S else SLOW_TRAIN_FRAME_BYTES
        length_s = max(TRAIN_LENGTH_S / speed, SHORTEST_TRAIN_S)
        count = min(100, max(3, round(length_s * rate_bit_s / (frame_bytes * 8)) + 1))
        interval_s = max(TRAIN_INTERVAL_S / speed, count * frame_bytes * 8 / (BUDGET * rate_bit_s))
        return cls(count, frame_bytes, interval_s)


def rtt_interval_s(speed: float) -> float:
    """Return the real seconds between two RTT probes."""
    return max(RTT_INTERVAL_S / speed, RTT_AT_LEAST_S)


def load_bit_s(rate_bit_s: float, speed: float = 1.0) -> float:
    """Return the most traffic that the probe itself adds to one direction, bit/s of scenario time.

    Args:
        rate_bit_s: highest rate of the direction, in scenario time.
        speed: seconds of scenario time in a real one.
    """
    train = TrainShape.for_rate(rate_bit_s * speed, speed)
    trains_bit_s = train.count * train.frame_bytes * 8 / train.interval_s
    return (trains_bit_s + RTT_FRAME_BYTES * 8 / rtt_interval_s(speed)) / speed


class Probe:
    """One end. Both ends send trains and echo; the one with `asks` also sends the RTT probes.

    Args:
        peer: IPv4 address of the other end.
        rate_bit_s: configured rate of the direction away from this end, in real time.
        asks: whether this end sends RTT probes.
        out: where a JSON line per finished probe goes.
        speed: seconds of scenario time in a real one.
        trains: whether this end sends trains.
        interface: by which its packets leave. RTT probes are then stamped by the kernel as they leave.
    """

    def __init__(
        self,
        peer: str,
        rate_bit_s: float,
        asks: bool,
        out: TextIO,
        port: int = PORT,
        *,
        speed: float = 1.0,
        trains: bool = True,
        interface: str | None = None,
    ) -> None:
        self.peer = (peer, port)
        self.asks, self.trains = asks, trains
        self.out = out
        self.train = TrainShape.for_rate(rate_bit_s, speed)
        self.rtt_interval_s = rtt_interval_s(speed)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        stamp_arrivals(self.socket)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.socket.bind(("0.0.0.0", port))  # noqa: S104 - inside a host of our own namespace
        self.tap = open_probe_tap(interface, port) if asks and interface is not None else None
        self.sequence = 0
        self.sent_ns: dict[int, tuple[int, int]] = {}  # with the offset of the clocks then
        self.train_first_ns: dict[int, tuple[int, int]] = {}  # sent and arrived, by sequence

    def run(self) -> None:
        """Probe until the process is told to end."""
        next_rtt_s = time.monotonic()
        # Half an interval apart, so that the two ends' trains and the RTT probes do not meet.
        next_train_s = next_rtt_s + self.train.interval_s * (0.3 if self.asks else 0.8)
        if not self.trains:
            next_train_s = math.inf
        while True:
            now_s = time.monotonic()
            if self.asks and now_s >= next_rtt_s:
                self.send_rtt()
                next_rtt_s += self.rtt_interval_s
            if now_s >= next_train_s:
                self._send_train()
                next_train_s += self.train.interval_s
            deadline_s = min(next_rtt_s, next_train_s) if self.asks else next_train_s
            wait_s = None if math.isinf(deadline_s) else max(0.0, deadline_s - time.monotonic())
            # Its own process has few files, and poll(2) would wait for whole milliseconds.
            if select.select([self.socket], [], [], wait_s)[0]:
                self.receive()

    def send_rtt(self) -> None:
        """Send one RTT probe."""
        sent_ns = self._send(_RTT, 0, 0, payload_bytes=RTT_FRAME_BYTES - 42)
        if sent_ns is not None:
            self.sent_ns[self.sequence] = self._left_ns(sent_ns), _offset_ns()
        if len(self.sent_ns) > LONGEST_WAIT_S / self.rtt_interval_s:
            self._give_up(next(iter(self.sent_ns)))  # the oldest

    def _left_ns(self, sent_ns: int) -> int:
        """Return when the kernel handed the last RTT probe to the interface, or when it was sent."""
        with contextlib.suppress(BlockingIOError):
            while self.tap is not None:
                _, ancillary, _, _ = self.tap.recvmsg(0, ANCILLARY_BYTES)
                sent_ns = max(sent_ns, arrival_ns(ancillary))
        return sent_ns

    def give_up(self) -> None:
        """Record the probes that have no answer yet."""
        for sequence in list(self.sent_ns):
            self._give_up(sequence)

    def _give_up(self, sequence: int) -> None:
        sent_ns, offset_ns = self.sent_ns.pop(sequence)
        self._write({"kind": "unanswered", "sequence": sequence, "sent_ns": sent_ns}, sent_ns, offset_ns)

    def _send_train(self) -> None:
        self.sequence += 1
        for index in range(self.train.count):
            self._send(_TRAIN, self.train.count, index, payload_bytes=self.train.frame_bytes - 42, step=0)

    def _send(self, kind: int, count: int, last: int, payload_bytes: int, step: int = 1) -> int | None:
        self.sequence += step
        sent_ns = time.clock_gettime_ns(time.CLOCK_REALTIME)
        body = _HEADER.pack(kind, count, self.sequence, sent_ns, last)
        try:
            self.socket.sendto(body.ljust(payload_bytes, b"\0"), self.peer)
        except OSError:  # no carrier: there is no contact to measure
            return None
        return sent_ns

    def receive(self) -> None:
        """Receive one packet: answer it, or record it."""
        data, ancillary, _, sender = self.socket.recvmsg(2048, 64)
        if len(data) < _HEADER.size or not ancillary or sender[0] != self.peer[0]:
            return
        arrived_ns = arrival_ns(ancillary)
        kind, count, sequence, stamp_ns, last = _HEADER.unpack_from(data)
        if kind == _RTT:
            self._echo(sequence, arrived_ns)
        elif kind == _ECHO and sequence in self.sent_ns:
            sent_ns, offset_ns = self.sent_ns.pop(sequence)
            if abs(_offset_ns() - offset_ns) > STEP_NS:
                return  # the clock that stamps it was set meanwhile: it is neither answered nor lost
            there_ns, back_ns = stamp_ns - sent_ns, arrived_ns - stamp_ns - last
            self._write(
                {
                    "kind": "rtt",
                    "sequence": sequence,
                    "sent_ns": sent_ns,
                    "rtt_s": (there_ns + back_ns) / 1e9,
                    "there_s": there_ns / 1e9,
                    "back_s": back_ns / 1e9,
                    "turnaround_s": last / 1e9,
                },
                arrived_ns,
            )
        elif kind == _TRAIN:
            self._train_packet(sequence, count, last, (stamp_ns, arrived_ns), frame_bytes=len(data) + 42)

    def _echo(self, sequence: int, arrived_ns: int) -> None:
        turnaround_ns = time.clock_gettime_ns(time.CLOCK_REALTIME) - arrived_ns
        body = _HEADER.pack(_ECHO, 0, sequence, arrived_ns, max(0, min(turnaround_ns, 2**32 - 1)))
        with contextlib.suppress(OSError):
            self.socket.sendto(body.ljust(RTT_FRAME_BYTES - 42, b"\0"), self.peer)

    def _train_packet(
        self, sequence: int, count: int, index: int, stamps_ns: tuple[int, int], frame_bytes: int
    ) -> None:
        arrived_ns = stamps_ns[1]
        if index == 0:
            self.train_first_ns = {sequence: stamps_ns}
        elif index == count - 1 and sequence in self.train_first_ns:
            first_sent_ns, first_arrived_ns = self.train_first_ns.pop(sequence)
            dispersion_s = (arrived_ns - first_arrived_ns) / 1e9
            if 0 < dispersion_s < LONGEST_WAIT_S:  # else the clock was set meanwhile
                rate_bit_s = (count - 1) * frame_bytes * 8 / dispersion_s
                self._write(
                    {
                        "kind": "train",
                        "dispersion_s": dispersion_s,
                        "rate_bit_s": rate_bit_s,
                        "packets": count,
                        "frame_bytes": frame_bytes,
                        "there_s": (arrived_ns - first_sent_ns) / 1e9,  # from the first sent to the last here
                    },
                    arrived_ns,
                )

    def _write(self, record: dict[str, Any], stamp_ns: int, offset_ns: int | None = None) -> None:
        """Write a record with the CLOCK_MONOTONIC of a stamp, which is on CLOCK_REALTIME.

        Args:
            record: what is known of a probe.
            stamp_ns: when.
            offset_ns: offset of the clocks at that time; None if it was just now.
        """
        record["monotonic_s"] = (stamp_ns - (_offset_ns() if offset_ns is None else offset_ns)) / 1e9
        self.out.write(json.dumps(record) + "\n")


def _offset_ns() -> int:
    """Return by how much CLOCK_REALTIME is ahead of CLOCK_MONOTONIC."""
    return time.clock_gettime_ns(time.CLOCK_REALTIME) - time.monotonic_ns()


def main() -> int:
    """Probe one link from one end until SIGTERM."""
    parser = argparse.ArgumentParser(
        prog="python -m testbed.measure.probe",
        description=main.__doc__,
        epilog="example: python -m testbed.measure.probe --peer 10.0.0.2 --rate 4e6 --asks -o probe.jsonl",
    )
    parser.add_argument("--peer", required=True, help="IPv4 address of the other end")
    parser.add_argument("--port", type=int, default=PORT, help="UDP port at both ends, one for each link")
    parser.add_argument("--rate", type=float, required=True, help="configured rate away from this end, bit/s")
    parser.add_argument(
        "--speed", type=float, default=1.0, help="seconds of scenario time in a real one; probes come faster"
    )
    parser.add_argument("--asks", action="store_true", help="this end sends the RTT probes")
    parser.add_argument(
        "--interface", help="by which packets leave: the kernel then stamps RTT probes as they leave"
    )
    parser.add_argument("--no-trains", action="store_true", help="this end sends no packet trains")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="JSON lines are appended here"
    )
    arguments = parser.parse_args()
    with contextlib.suppress(OSError):  # not allowed everywhere; the figures are then a little noisier
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(40))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with arguments.output.open("a", encoding="utf-8", buffering=1) as out:
        probe = Probe(
            arguments.peer,
            arguments.rate,
            arguments.asks,
            out,
            arguments.port,
            speed=arguments.speed,
            trains=not arguments.no_trains,
            interface=arguments.interface,
        )
        try:
            probe.run()
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one would leave some out
            probe.give_up()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
