"""The path between the sky and a board, measured before a run; the emulated delay is reduced by its delay."""

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
    """The path from the sky's port to a board and back, without any emulation.

    Args:
        mac: Ethernet address of the board; for a board attached by route, of the next hop on this machine.
        rtt_s: Median RTT of 64-byte echoes, seconds; it includes the kernel of the board.
        rtt_p95_s: 95th percentile of the RTT, seconds; jitter beyond the median is not compensated.
        lost: Number of lost echoes.
        rate_bit_s: Rate of the replies to a train of echoes, bit/s: that of the slower direction, limited by
            the board's kernel. None if fewer than half were returned.
    """

    mac: str
    rtt_s: float
    rtt_p95_s: float
    lost: int
    rate_bit_s: float | None

    def to_json(self) -> dict[str, Any]:
        """Return all fields."""
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
    """Measure the path from a port of the sky, in the calling thread's namespace; takes about a second.

    Args:
        port: The sky's port of the board; it has to be up.
        ground: The ground's end of the link, used as the sender of the probes.
        board_address: IPv4 address of the board on the link.
        mtu_bytes: Largest IP packet on the path, bytes.
        mac: Ethernet address to send to; None finds it by ARP.
        patience_s: Time limit for the first answer of the board, seconds.

    Raises:
        BoardRefusedError: the board does not answer, loses packets, or two devices claim its address.
    """
    with Wire(port) as wire:
        found = {mac} if mac is not None else wire.who_has(board_address, ground, patience_s)
        if not found:
            raise BoardRefusedError(
                f"no device at the board's end has the address {board_address}; assign it on the board: "
                f"ip addr add {board_address}/30 dev INTERFACE"
            )
        if len(found) > 1:
            raise BoardRefusedError(f"{', '.join(sorted(found))} both claim the address {board_address}")
        board = Endpoint(found.pop(), board_address)
        rtts_s = wire.round_trips_s(ground, board, ECHOES, ECHO_INTERVAL_S)
        if len(rtts_s) < ECHOES // 2:
            raise BoardRefusedError(
                f"{ECHOES - len(rtts_s)} of {ECHOES} echoes to {board_address} were lost without emulation; "
                "check the board's cable and firewall (for a board by route, also this machine's firewall)"
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
    """Return the trace with each one-way delay reduced by half the RTT of the board's path.

    The RTT of link and path together is then that of the trace. The split of the path's RTT between the two
    directions is unknown.

    Args:
        trace: The trace that the link follows.
        path: The measured path.
        board: Name of the board, for errors.

    Raises:
        BoardRefusedError: the path has a longer delay or a lower rate than the trace.
    """
    own_s = path.rtt_s / 2
    least_s = min(
        float(delay_s[up].min())
        for delay_s, up in ((trace.down_delay_s, trace.downlink_up), (trace.up_delay_s, trace.uplink_up))
        if up.any()
    )
    if own_s > least_s:
        raise BoardRefusedError(
            f"the path to board {board} takes {own_s * 1e3:.3f} ms one way, but the trace has delays down to "
            f"{least_s * 1e3:.3f} ms; use a faster path to the board, or a trace with longer delays"
        )
    fastest_bit_s = max(
        float(rate_bit_s[up].max(initial=0))
        for rate_bit_s, up in ((trace.down_bit_s, trace.downlink_up), (trace.up_bit_s, trace.uplink_up))
    )
    if path.rate_bit_s is not None and path.rate_bit_s < fastest_bit_s:
        raise BoardRefusedError(
            f"the path to board {board} carries {path.rate_bit_s / 1e6:.1f} Mbit/s, but the trace has rates "
            f"up to {fastest_bit_s / 1e6:.1f} Mbit/s; use a faster path to the board, or cap the link's rate"
        )
    note = f"each delay is reduced by {own_s * 1e6:.0f} us, half the RTT of the path to board {board}"
    return replace(
        trace,
        header=trace.header.with_note(note),
        down_delay_s=np.maximum(0.0, trace.down_delay_s - own_s),
        up_delay_s=np.maximum(0.0, trace.up_delay_s - own_s),
    )
