"""What a board's own way to the sky costs, measured before a run; the emulated delay is reduced by it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any

import numpy as np

from testbed.boards.attachment import BoardRefusedError
from testbed.boards.wire import Endpoint, Wire
from traces.trace import Trace

ECHOES, ECHO_INTERVAL_S = 40, 0.02
TRAIN_PACKETS = 100
TRAIN_WITHIN_S = 2.0
ETHERNET_HEADER_BYTES = 14


@dataclass(frozen=True, slots=True)
class BoardPath:
    """The way from the sky's port to a board and back, with nothing emulated in it.

    Args:
        mac: the board's Ethernet address there; of a board by route, this machine's own on that way.
        rtt_s: median round trip of 64-byte echoes, seconds; the board's own kernel is part of it.
        rtt_p95_s: 95th percentile; what the median cannot compensate.
        lost: echoes that did not come back.
        rate_bit_s: rate at which a train of echoes comes back, bit/s: the slower of both directions, and
            not more than the board's kernel answers. None if fewer than half came back.
    """

    mac: str
    rtt_s: float
    rtt_p95_s: float
    lost: int
    rate_bit_s: float | None

    def to_json(self) -> dict[str, Any]:
        """All fields."""
        return asdict(self)


def measure(
    port: str,
    ground: Endpoint,
    board_address: str,
    mtu_bytes: int,
    *,
    mac: str | None = None,
    patience_s: float,
) -> BoardPath:
    """Measure from a port of the sky, in the calling thread's namespace; takes about a second.

    Args:
        port: the sky's port of the board, up.
        ground: on whose behalf it is asked: the ground's end of the link.
        board_address: IPv4 address of the board on the link.
        mtu_bytes: largest packet on the way, bytes.
        mac: whom to ask, if that is not to be found out by ARP.
        patience_s: for the board's first answer.

    Raises BoardRefusedError when the board does not answer, or two do.
    """
    with Wire(port) as wire:
        found = {mac} if mac is not None else wire.who_has(board_address, ground, patience_s)
        if not found:
            raise BoardRefusedError(
                f"nobody at the board's end has the address {board_address}; give it to the board's "
                f"interface: ip addr add {board_address}/30 dev INTERFACE"
            )
        if len(found) > 1:
            raise BoardRefusedError(f"{', '.join(sorted(found))} both claim the address {board_address}")
        board = Endpoint(found.pop(), board_address)
        rtts_s = wire.round_trips_s(ground, board, ECHOES, ECHO_INTERVAL_S)
        if len(rtts_s) < ECHOES // 2:
            raise BoardRefusedError(
                f"{ECHOES - len(rtts_s)} of {ECHOES} echoes to {board_address} were lost on the board's own "
                "way; look at its cable and its firewall (and this machine's, for a board by route)"
            )
        frame_bytes = mtu_bytes + ETHERNET_HEADER_BYTES
        arrived_s = wire.echoed_train(ground, board, TRAIN_PACKETS, frame_bytes, TRAIN_WITHIN_S)
    return BoardPath(
        mac=board.mac,
        rtt_s=median(rtts_s),
        rtt_p95_s=float(np.percentile(rtts_s, 95)),
        lost=ECHOES - len(rtts_s),
        rate_bit_s=_rate_bit_s(arrived_s, frame_bytes),
    )


def _rate_bit_s(arrived_s: list[float], frame_bytes: int) -> float | None:
    if len(arrived_s) < TRAIN_PACKETS // 2 or arrived_s[-1] <= arrived_s[0]:
        return None
    return (len(arrived_s) - 1) * frame_bytes * 8 / (arrived_s[-1] - arrived_s[0])


def compensated(trace: Trace, path: BoardPath, board: str) -> Trace:
    """The trace with each way's delay less half of the board's own round trip.

    Together the two ways then take what the trace says; how the board's own share is divided between them
    nobody knows. Raises BoardRefusedError when the board's own way is slower than the link: there is nothing
    left to emulate.
    """
    own_s = path.rtt_s / 2
    least_s = min(float(delay_s[trace.up].min()) for delay_s in (trace.down_delay_s, trace.up_delay_s))
    if own_s > least_s:
        raise BoardRefusedError(
            f"board {board}'s own delay is {own_s * 1e3:.3f} ms one way, and the link's is down to "
            f"{least_s * 1e3:.3f} ms; bring the board nearer, or follow a trace with longer delays"
        )
    fastest_bit_s = max(float(rate[trace.up].max()) for rate in (trace.down_bit_s, trace.up_bit_s))
    if path.rate_bit_s is not None and path.rate_bit_s < fastest_bit_s:
        raise BoardRefusedError(
            f"board {board}'s own way carries {path.rate_bit_s / 1e6:.1f} Mbit/s, and the link's rate is up "
            f"to {fastest_bit_s / 1e6:.1f} Mbit/s; attach the board by a faster way, or cap the link's rate"
        )
    note = f"each delay is reduced by {own_s * 1e6:.0f} us, half the own round trip of board {board}"
    return replace(
        trace,
        header=trace.header.with_note(note),
        down_delay_s=np.maximum(0.0, trace.down_delay_s - own_s),
        up_delay_s=np.maximum(0.0, trace.up_delay_s - own_s),
    )
