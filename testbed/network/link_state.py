"""The state of one direction of a link."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import Enum
from operator import attrgetter
from typing import Any

LOWEST_RATE_BIT_S = 8.0  # one byte per second: the least that netem can write
LONGEST_DELAY_S = 86_400.0


class Direction(str, Enum):
    """The two directions of a link, named from the satellite's end."""

    DOWN = "down"  # satellite to ground
    UP = "up"  # ground to satellite


class OnContactEnd(str, Enum):
    """The fate of packets inside a link, queued or in flight, when its contact ends."""

    PURGE = "purge"  # they are lost
    HOLD = "hold"  # they wait, and continue in the next contact with their remaining time


@dataclass(frozen=True, slots=True)
class GilbertElliott:
    """Loss in bursts: a Markov chain of a good and a bad state that steps once per packet.

    Gilbert, "Capacity of a burst-noise channel", Bell System Technical Journal 39 (1960), with Elliott's
    loss in the good state, "Estimates of error rates for codes on burst-noise channels", BSTJ 42 (1963).
    netem's `loss gemodel P R 1-H 1-K` is P = good_to_bad, R = bad_to_good, 1-H = bad_loss, 1-K = good_loss.

    Args:
        good_to_bad: probability that the step after a packet leads from the good state to the bad one.
        bad_to_good: and back; bad spells last 1 / bad_to_good packets on average.
        bad_loss: probability that a packet is lost in the bad state (Gilbert's 1 - h).
        good_loss: and in the good state (Elliott's 1 - k).
    """

    good_to_bad: float
    bad_to_good: float
    bad_loss: float = 1.0
    good_loss: float = 0.0

    def __post_init__(self) -> None:
        for name in ("good_to_bad", "bad_to_good", "bad_loss", "good_loss"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it is a probability, 0 to 1")
        if self.bad_to_good == 0:
            raise ValueError("bad_to_good > 0 is needed; otherwise the first bad spell never ends")

    @classmethod
    def of(cls, loss: float, burst_packets: float) -> GilbertElliott:
        """Return the chain that loses a share `loss` of all packets, in bursts of `burst_packets` on average.

        Gilbert's simplest case: all is lost in the bad state and nothing in the good one, so that
        loss = P / (P + R) and the mean burst is 1 / R.
        """
        if not (0 <= loss < 1 and burst_packets >= 1):
            raise ValueError(f"no chain has loss {loss} and bursts of {burst_packets} packets")
        bad_to_good = 1 / burst_packets
        good_to_bad = bad_to_good * loss / (1 - loss)
        if good_to_bad > 1:
            raise ValueError(f"a loss of {loss} needs bursts longer than {burst_packets} packets")
        return cls(good_to_bad, bad_to_good)

    @property
    def mean_loss(self) -> float:
        """Share of packets lost in the long run."""
        bad = self.good_to_bad / (self.good_to_bad + self.bad_to_good)
        return bad * self.bad_loss + (1 - bad) * self.good_loss


@dataclass(frozen=True, slots=True)
class LinkState:
    """State of one direction; always written whole, never field by field.

    Args:
        up: whether there is a contact; False takes the carrier away.
        rate_bit_s: serialisation rate of Ethernet frames (14-byte header included, no FCS), bit/s.
        delay_s: one-way propagation delay, seconds, added after serialisation.
        loss: probability that a packet is lost, 0..1, each packet by itself.
        queue_bytes: drop-tail limit of packets that wait for serialisation, bytes; unless `queue_s` is set.
        jitter_s: each packet's delay is delay_s + a uniform draw from -jitter_s to +jitter_s, seconds; no
            packet overtakes one before it, so in dense traffic packets wait for a late one.
        bursty_loss: loss in bursts, instead of `loss`.
        queue_s: the limit as time, seconds of `rate_bit_s`; it follows the rate.
        on_contact_end: in a state that is not up, the fate of packets inside.
    """

    up: bool
    rate_bit_s: float
    delay_s: float
    loss: float = 0.0
    queue_bytes: int = 1_000_000
    jitter_s: float = 0.0
    bursty_loss: GilbertElliott | None = None
    queue_s: float | None = None
    on_contact_end: OnContactEnd = OnContactEnd.PURGE

    def __post_init__(self) -> None:
        if not (math.isfinite(self.rate_bit_s) and self.rate_bit_s >= 0):
            raise ValueError(f"rate_bit_s is {self.rate_bit_s}; it must be finite and not negative")
        if self.up and self.rate_bit_s < LOWEST_RATE_BIT_S:
            raise ValueError(
                f"rate_bit_s is {self.rate_bit_s} while up; the least is {LOWEST_RATE_BIT_S}, "
                "and a link that carries nothing has up=False"
            )
        if not 0 <= self.delay_s <= LONGEST_DELAY_S:
            raise ValueError(f"delay_s is {self.delay_s}; it is 0 to {LONGEST_DELAY_S}")
        if not 0 <= self.jitter_s <= self.delay_s:
            raise ValueError(f"jitter_s is {self.jitter_s}; it is 0 to delay_s, which is {self.delay_s}")
        if not 0 <= self.loss <= 1:
            raise ValueError(f"loss is {self.loss}; it is a probability, 0 to 1")
        if self.loss and self.bursty_loss is not None:
            raise ValueError("both loss and bursty_loss are set; set only one")
        if self.queue_bytes <= 0:
            raise ValueError(f"queue_bytes is {self.queue_bytes}; it must be positive")
        if self.queue_s is not None and not 0 < self.queue_s < math.inf:
            raise ValueError(f"queue_s is {self.queue_s}; it must be positive")

    @property
    def queue_limit_bytes(self) -> int:
        """The queue limit in bytes, from `queue_bytes` or `queue_s`."""
        if self.queue_s is None:
            return self.queue_bytes
        return max(1, round(self.queue_s * self.rate_bit_s / 8))

    def accelerated(self, speed: float) -> LinkState:
        """Return the state of a link on which all passes `speed` times as fast.

        A queue's bytes, and the loss of each packet, are the same.
        """
        if speed == 1:
            return self
        return replace(
            self,
            rate_bit_s=self.rate_bit_s * speed,
            delay_s=self.delay_s / speed,
            jitter_s=self.jitter_s / speed,
            queue_s=None if self.queue_s is None else self.queue_s / speed,
        )

    def to_json(self) -> dict[str, Any]:
        """Return all fields as JSON and msgpack types."""
        chain = self.bursty_loss  # field by field: `asdict` is slow, and this is done for every change
        return {
            **{name: getattr(self, name) for name in self.__slots__},
            "bursty_loss": None if chain is None else asdict(chain),
            "on_contact_end": self.on_contact_end.value,
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> LinkState:
        """Return the state from the result of `to_json`."""
        chain = fields["bursty_loss"]
        return cls(
            **{
                **fields,
                "bursty_loss": None if chain is None else GilbertElliott(**chain),
                "on_contact_end": OnContactEnd(fields["on_contact_end"]),
            }
        )

    def to_row(self) -> tuple[Any, ...]:
        """Return all fields in order as msgpack types; several times as fast as `to_json`."""
        *row, end = _fields(self)
        chain = row[BURSTY_LOSS]
        row[BURSTY_LOSS] = None if chain is None else _chain_fields(chain)
        return *row, end.value

    @classmethod
    def from_row(cls, row: Sequence[Any]) -> LinkState:
        """Return the state from the result of `to_row`."""
        *fields, end = row
        chain = fields[BURSTY_LOSS]
        if chain is not None:
            fields[BURSTY_LOSS] = GilbertElliott(*chain)
        return cls(*[*fields, OnContactEnd(end)])


_fields = attrgetter(*LinkState.__slots__)
_chain_fields = attrgetter(*GilbertElliott.__slots__)
BURSTY_LOSS = LinkState.__slots__.index("bursty_loss")

DOWN_STATE = LinkState(up=False, rate_bit_s=0.0, delay_s=0.0)
HELD_STATE = LinkState(up=False, rate_bit_s=0.0, delay_s=0.0, on_contact_end=OnContactEnd.HOLD)
