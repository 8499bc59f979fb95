"""RTT probe of a link to a board, run at the ground's end; the board's kernel replies.

It sends ICMP echoes with the frame size and interval of testbed.measure.probe, so both kinds of link are
checked alike, and the board needs no probe. One-way delays and rates are not measured: that would need a
program on the board and its clock.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import time
from pathlib import Path

from testbed.boards.wire import Endpoint, Wire
from testbed.measure.probe import RTT_FRAME_BYTES, RTT_INTERVAL_S


def probe(interface: str, own: str, peer: Endpoint, out: Path) -> None:
    """Send echoes forever, and append a JSON line for each reply, in the format of testbed.measure.probe.

    Args:
        interface: The ground's end of the link.
        own: IPv4 address of the ground.
        peer: The board.
        out: File of JSON lines.
    """
    with Wire(interface) as wire, out.open("a", encoding="utf-8", buffering=1) as file:
        source = Endpoint(wire.mac, own)
        sequence = 0
        while True:
            sent_s = time.time()
            try:
                rtts_s = wire.round_trips_s(source, peer, 1, RTT_INTERVAL_S, RTT_FRAME_BYTES)
            except OSError:  # no carrier: there is no contact to measure
                time.sleep(RTT_INTERVAL_S)
                continue
            if rtts_s:
                record = {
                    "kind": "rtt",
                    "sequence": sequence,
                    "sent_ns": int(sent_s * 1e9),
                    "rtt_s": rtts_s[0],
                    "asked_by": "ground",
                }
                arrived_s = time.monotonic() - (time.time() - sent_s) + rtts_s[0]
                file.write(json.dumps({**record, "monotonic_s": arrived_s}) + "\n")
            sequence += 1


def main() -> int:
    """Probe until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m testbed.boards.echo_probe", description=main.__doc__)
    parser.add_argument("--interface", required=True, help="the ground's end of the link")
    parser.add_argument("--own", required=True, help="IPv4 address there")
    parser.add_argument("--peer", required=True, help="IPv4 address of the board")
    parser.add_argument(
        "--peer-mac", required=True, help="Ethernet address of the board, or of the next hop to it"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="FILE",
        help="file to which JSON lines are appended",
    )
    arguments = parser.parse_args()
    with contextlib.suppress(OSError):  # not allowed everywhere; the RTTs are then a little noisier
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(40))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    peer = Endpoint(arguments.peer_mac, arguments.peer)
    probe(arguments.interface, arguments.own, peer, arguments.output)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
