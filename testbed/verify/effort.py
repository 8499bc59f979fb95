"""How much `spaceverse verify` measures."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

DELAYS_S = (0.002, 0.005, 0.020, 0.300)
RATES_BIT_S = (0.1e6, 10e6, 50e6, 200e6)
LOSSES = (0.01, 0.2)


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Args:
        cells: (one-way delay, rate) of the RTT grid.
        rtt_probes: in each cell.
        tcp_rates_bit_s, udp_rates_bit_s: flows.
        tcp_s: length of a flow after its beginning, seconds; slow ones take twice as long.
        messages, losses, loss_packets, contacts: repetitions.
        pass_step_s: rows of the pass, in its own seconds; it is played at ten rows a second.
        piece_s: length of the user's trace that is played.
    """

    cells: tuple[tuple[float, float], ...]
    rtt_probes: int
    tcp_rates_bit_s: tuple[float, ...]
    udp_rates_bit_s: tuple[float, ...]
    tcp_s: float
    messages: int
    losses: tuple[float, ...]
    loss_packets: int
    contacts: int
    pass_step_s: float
    piece_s: float


FULL = Effort(
    cells=tuple(itertools.product(DELAYS_S, RATES_BIT_S)),
    rtt_probes=200,
    tcp_rates_bit_s=RATES_BIT_S,
    udp_rates_bit_s=RATES_BIT_S,
    tcp_s=3.0,
    messages=3,
    losses=LOSSES,
    loss_packets=4000,
    contacts=5,
    pass_step_s=1.0,
    piece_s=60.0,
)
QUICK = Effort(
    cells=tuple(zip(DELAYS_S, RATES_BIT_S[::-1], strict=True)),
    rtt_probes=80,
    tcp_rates_bit_s=(0.1e6, 10e6, 200e6),
    udp_rates_bit_s=(0.1e6, 200e6),
    tcp_s=1.2,
    messages=1,
    losses=LOSSES[1:],
    loss_packets=1000,
    contacts=2,
    pass_step_s=5.0,
    piece_s=8.0,
)
