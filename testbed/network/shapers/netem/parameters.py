"""One netem in the kernel's own units and bytes.

Numbers (include/uapi/linux/pkt_sched.h, net/sched/sch_netem.c):
    rate   whole bytes per second, 64 bits beyond 34 Gbit/s; counts skb bytes, which at the exit port are the
           Ethernet frame with its 14-byte header and without FCS, as `LinkState` counts
    delay  nanoseconds (TCA_NETEM_LATENCY64); jitter too (TCA_NETEM_JITTER64): without a distribution
           table netem draws uniformly, and with a rate it keeps the order of packets
    loss   share of 2^32 - 1; bursts by netem's own Gilbert-Elliott chain, which starts anew in the good
           state with every change (net/sched/sch_netem.c, get_loss_clg), so that a change cuts a burst off
    limit  packets, those in propagation included: rate x (delay + jitter) + the queue, both in full-size
           frames of 1514 bytes.  A flood of small packets fills it with fewer bytes than requested.
A closed direction is a netem with limit 0, which drops everything.
"""

from __future__ import annotations

import math
import struct
from typing import NamedTuple

from testbed.kernel.netlink import ATTRIBUTE, attribute_places
from testbed.network.link_state import DOWN_STATE, GilbertElliott, LinkState

FRAME_BYTES = 1514  # Ethernet header and 1500 bytes; what `limit` takes a packet to be

TCA_NETEM_CORR, TCA_NETEM_REORDER, TCA_NETEM_CORRUPT = 1, 3, 4
TCA_NETEM_LOSS, TCA_NETEM_RATE, TCA_NETEM_RATE64 = 5, 6, 8
TCA_NETEM_LATENCY64, TCA_NETEM_JITTER64 = 10, 11
TCA_NETEM_PRNG_SEED = 14
NETEM_LOSS_GE = 2

_QOPT = struct.Struct("=IIIIII")  # tc_netem_qopt: latency (ticks), limit, loss, gap, duplicate, jitter
# What netem has and a link has not: correlations of delay, loss and duplication, reordering, corruption.
_UNUSED = struct.pack(
    "=HHIII HHII HHII",
    16,
    TCA_NETEM_CORR,
    *(0, 0, 0),
    *(12, TCA_NETEM_REORDER, 0, 0),
    *(12, TCA_NETEM_CORRUPT, 0, 0),
)
# What is always there: tc_netem_qopt, then attributes, each with its length and number before it; the last
# is TCA_NETEM_RATE, of rate, packet overhead, cell size and cell overhead.
_PLAIN = struct.Struct(f"=IIIIII HHq HHq {len(_UNUSED)}s HHIiIi")
_RATE_BYTES = 20
_RATE64 = struct.Struct("=HHQ")
_CHAIN = struct.Struct("=HH HHIIII")  # TCA_NETEM_LOSS around NETEM_LOSS_GE around a tc_netem_gemodel
_GEMODEL = struct.Struct("=IIII")  # p, r, h, k1 (1 - h and k1 are the losses)
_U32, _U64, _S64 = struct.Struct("=I"), struct.Struct("=Q"), struct.Struct("=q")

_TICK_NS = 64  # the unit of tc_netem_qopt.latency; LATENCY64, sent beside it, decides
_FULL = 2**32 - 1


class NetemParameters(NamedTuple):
    """One netem in the kernel's units; what is written and what is read back compare exactly.

    Args:
        rate_byte_s: bytes per second; 0 is no rate limit, which only a closed netem has.
        delay_ns: nanoseconds.
        loss: share of 2^32 - 1.
        limit: packets; 0 drops everything and means that the direction is closed.
        jitter_ns: nanoseconds.
        chain: p, r, h and k1 of netem's Gilbert-Elliott loss, shares of 2^32 - 1; None for plain loss.
    """

    rate_byte_s: int
    delay_ns: int
    loss: int
    limit: int
    jitter_ns: int = 0
    chain: tuple[int, int, int, int] | None = None

    @classmethod
    def of(cls, state: LinkState) -> NetemParameters:
        """Return the netem that plays `state`."""
        if not state.up:
            return CLOSED
        rate_byte_s = max(1, round(state.rate_bit_s / 8))
        delay_ns, jitter_ns = round(state.delay_s * 1e9), round(state.jitter_s * 1e9)
        waiting = math.ceil(state.queue_limit_bytes / FRAME_BYTES)
        limit = min(_flying(rate_byte_s, delay_ns + jitter_ns) + waiting, _FULL)
        chain = None
        if (ge := state.bursty_loss) is not None:
            p, r, h, k1 = ge.good_to_bad, ge.bad_to_good, 1 - ge.bad_loss, ge.good_loss
            chain = _share(p), _share(r), _share(h), _share(k1)
        return cls(rate_byte_s, delay_ns, _share(state.loss), limit, jitter_ns, chain)

    def state(self) -> LinkState:
        """Return the state that this netem plays; its queue_bytes come in whole 1514-byte frames."""
        rate_byte_s, delay_ns, loss, limit, jitter_ns, chain = self
        if limit == 0:
            return DOWN_STATE
        waiting = limit - _flying(rate_byte_s, delay_ns + jitter_ns)
        bursty_loss = None
        if chain is not None:
            p, r, h, k1 = (share / _FULL for share in chain)
            bursty_loss = GilbertElliott(p, r, 1 - h, k1)
        return LinkState(
            True,
            8.0 * rate_byte_s,
            delay_ns / 1e9,
            loss / _FULL,
            (waiting if waiting > 1 else 1) * FRAME_BYTES,
            jitter_ns / 1e9,
            bursty_loss,
        )

    def options(self) -> bytes:
        """Return TCA_OPTIONS with every field that netem remembers, so that no old value stays.

        The order is the kernel's (net/sched/sch_netem.c, netem_dump), so that what it holds can be compared
        with what was written as bytes.
        """
        rate_byte_s, delay_ns, loss, limit, jitter_ns, chain = self
        # fmt: off
        options = _PLAIN.pack(
            _ticks(delay_ns), limit, loss, 0, 0, _ticks(jitter_ns),
            12, TCA_NETEM_LATENCY64, delay_ns,
            12, TCA_NETEM_JITTER64, jitter_ns,
            _UNUSED,
            _RATE_BYTES, TCA_NETEM_RATE, rate_byte_s if rate_byte_s < _FULL else _FULL, 0, 0, 0,
        )
        # fmt: on
        if rate_byte_s > _FULL:
            wide = _RATE64.pack(_RATE64.size, TCA_NETEM_RATE64, rate_byte_s)
            options = options[:-_RATE_BYTES] + wide + options[-_RATE_BYTES:]
        if chain is not None:  # without it the kernel goes back to plain loss
            lengths = (_CHAIN.size, TCA_NETEM_LOSS, _CHAIN.size - ATTRIBUTE.size, NETEM_LOSS_GE)
            options += _CHAIN.pack(*lengths, *chain)
        return options

    @classmethod
    def from_options(cls, options: bytes) -> NetemParameters:
        """Decode the TCA_OPTIONS of a netem as the kernel sends them."""
        ticks, limit, loss, _, _, jitter_ticks = _QOPT.unpack_from(options)
        found = attribute_places(options, _QOPT.size, len(options))
        delay_ns, jitter_ns, rate, chain = ticks * _TICK_NS, jitter_ticks * _TICK_NS, 0, None
        if TCA_NETEM_RATE64 in found:
            (rate,) = _U64.unpack_from(options, found[TCA_NETEM_RATE64][0])
        elif TCA_NETEM_RATE in found:
            (rate,) = _U32.unpack_from(options, found[TCA_NETEM_RATE][0])
        if TCA_NETEM_LATENCY64 in found:
            (delay_ns,) = _S64.unpack_from(options, found[TCA_NETEM_LATENCY64][0])
        if TCA_NETEM_JITTER64 in found:
            (jitter_ns,) = _S64.unpack_from(options, found[TCA_NETEM_JITTER64][0])
        if TCA_NETEM_LOSS in found:
            chains = attribute_places(options, *found[TCA_NETEM_LOSS])
            if NETEM_LOSS_GE in chains:
                chain = _GEMODEL.unpack_from(options, chains[NETEM_LOSS_GE][0])
        return cls(rate, delay_ns, loss, limit, jitter_ns, chain)


CLOSED = NetemParameters(rate_byte_s=0, delay_ns=0, loss=_FULL, limit=0)


def _flying(rate_byte_s: int, delay_ns: int) -> int:
    """Full-size frames that are in propagation at most."""
    return -(-rate_byte_s * delay_ns // (10**9 * FRAME_BYTES))


def _ticks(time_ns: int) -> int:
    ticks = time_ns // _TICK_NS
    return ticks if ticks < _FULL else _FULL


def _share(probability: float) -> int:
    return round(probability * _FULL)
