"""TCP super-packets: some packets of one flow that pass a link as one, where no measurement can tell.

To carry a packet costs a processor about the same whatever its size. On a fast link that a shaper plays by
slots, hosts may therefore send up to SEGMENTS of TCP's packets as one, no longer than a slot. It is counted
by all the bytes that its packets would have on the wire. A link that loses packets or varies their delays, or
is slower, or has a short queue, passes single packets alone.
"""

from __future__ import annotations

from testbed.network.link_state import LinkState

SEGMENTS = 4
SLOT_S = 200e-6  # in which a shaper lets packets out that come densely
MTU_BYTES = 1500  # of the hosts that may send super-packets
FULL_FRAME_BYTES = 1514
SLOWEST_BIT_S = SEGMENTS * FULL_FRAME_BYTES * 8 / SLOT_S
SHORTEST_QUEUE_BYTES = 16 * SEGMENTS * FULL_FRAME_BYTES  # else dropping four at once would be another queue


def may_pass(state: LinkState) -> bool:
    """Return whether a direction in this state may pass super-packets."""
    return (
        state.up
        and state.rate_bit_s >= SLOWEST_BIT_S
        and state.loss == 0
        and state.bursty_loss is None
        and state.jitter_s == 0
        and state.queue_limit_bytes >= SHORTEST_QUEUE_BYTES
    )
