"""Theory, bounds, and the check of one figure, for `spaceverse verify`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from testbed.network.link_state import GilbertElliott

Unit = Literal["s", "bit/s", "share", "packets", "bytes"]
Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

TCP_HEADERS_BYTES = 66  # Ethernet 14, IP 20, TCP 20, time stamps 12
TCP_SEGMENT_BYTES = 1448
FULL_FRAME_BYTES = 1514
# A correct link fails one in 10,000 such checks; verify makes about ten of them.
CONFIDENCE = 0.9999
NORMAL_QUANTILE = 3.89  # standard deviations that contain this share of a normal distribution


@dataclass(frozen=True)
class Bounds:
    """The largest errors of a link on an idle machine.

    Args:
        rtt_p50_s, rtt_p99_s: percentiles of |RTT error|, seconds.
        tcp_share, udp_share, message_share: relative error of TCP goodput, UDP rate, and time of a message.
        first_packet_s: from AOS to the first packet, seconds.
        last_packet_s: from LOS, as scheduled, to the last packet, seconds.
    """

    rtt_p50_s: float
    rtt_p99_s: float
    tcp_share: float = 0.02
    udp_share: float = 0.02
    message_share: float = 0.03
    first_packet_s: float = 0.02
    last_packet_s: float = 0.02


BOUNDS = {"nfqueue": Bounds(0.2e-3, 0.8e-3), "netem": Bounds(0.3e-3, 1.5e-3)}
LOOSEST = Bounds(0.3e-3, 1.5e-3)  # for a shaper that is neither


@dataclass(frozen=True)
class Check:
    """One figure: requested, measured, checked.

    Args:
        group: rtt, tcp, udp, message, loss, jitter, change, frames, pass, contact.
        what: description of the figure.
        unit: the unit of `requested` and `measured`.
        requested, measured: the two values; None if there is none (nothing arrived).
        error: in `error_unit`; None fails.
        error_unit: "s", "share" of the requested value, "packets" or "bytes".
        least, most: the bounds of `error`; both infinite for a figure that is only shown.
        samples: number of measurements.
        more: further figures, for --json.
    """

    group: str
    what: str
    unit: Unit
    requested: float | None
    measured: float | None
    error: float | None
    error_unit: Unit
    least: float
    most: float
    samples: int
    more: dict[str, Any]

    @property
    def checked(self) -> bool:
        """Whether there are bounds."""
        return math.isfinite(self.least) or math.isfinite(self.most)

    @property
    def ok(self) -> bool:
        """Whether the error is within its bounds; a missing measurement is not."""
        return self.error is not None and bool(self.least <= self.error <= self.most)

    @property
    def can_be_late(self) -> bool:
        """Whether a descheduled machine can spoil it: times and rates, not counts that must be zero."""
        return self.error_unit in ("s", "share") and self.group != "loss"

    def noting(self, what_happened: str) -> Check:
        """Return the check with a note on the machine while it was measured."""
        return replace(self, what=f"{self.what} ({what_happened})")

    def spoilt_by(self, what_happened: str) -> Check:
        """Return the check as shown only, with a note, since it was measured again."""
        return replace(self.noting(f"{what_happened}: measured again"), least=-math.inf, most=math.inf)

    def to_json(self) -> dict[str, Any]:
        """Return all fields, for JSON; None for a bound that does not exist."""
        bounds = {name: v if math.isfinite(v := getattr(self, name)) else None for name in ("least", "most")}
        return {**asdict(self), **bounds, "checked": self.checked, "ok": self.ok}


def delay_check(
    group: str, what: str, requested_s: Floats, measured_s: Floats, p: float, most_s: float
) -> Check:
    """Check a percentile of |measured - requested|; float64[n] each, seconds."""
    what = f"{what}, error p{p:.0f}"
    if not len(requested_s):
        return Check(group, what, "s", None, None, None, "s", 0.0, most_s, 0, {})
    errors_s = measured_s - requested_s
    return Check(
        group=group,
        what=what,
        unit="s",
        requested=float(np.median(requested_s)),
        measured=float(np.median(measured_s)),
        error=float(np.percentile(np.abs(errors_s), p)),
        error_unit="s",
        least=0.0,
        most=most_s,
        samples=len(errors_s),
        more={
            "error_median_s": float(np.median(errors_s)),
            **{f"error_p{q}_s": float(np.percentile(np.abs(errors_s), q)) for q in (50, 99, 100)},
        },
    )


def shown_delay(group: str, what: str, requested_s: Floats, measured_s: Floats, p: float) -> Check:
    """Return the figure of `delay_check` without a bound."""
    return replace(delay_check(group, what, requested_s, measured_s, p, math.inf), least=-math.inf)


def share_check(
    group: str, what: str, unit: Unit, requested: float, measured: float | None, most: float, samples: int = 1
) -> Check:
    """Check measured / requested - 1."""
    error = None if measured is None else measured / requested - 1
    return Check(group, what, unit, requested, measured, error, "share", -most, most, samples, {})


def none_check(group: str, what: str, count: int, samples: int, unit: Unit = "packets") -> Check:
    """Check a count that must be zero."""
    return Check(group, what, unit, 0, count, count, unit, 0, 0, samples, {})


def at_most_check(group: str, what: str, seconds: Sequence[float], most_s: float) -> Check:
    """Check the longest of some times against a bound; NaN is one that never ended."""
    seconds = [float(s) for s in seconds]
    worst = max(seconds, key=lambda s: math.inf if math.isnan(s) else s, default=math.nan)
    measured = None if math.isnan(worst) else worst
    more = {"seconds": [None if math.isnan(s) else s for s in seconds]}
    return Check(group, what, "s", 0.0, measured, measured, "s", -math.inf, most_s, len(seconds), more)


def loss_check(group: str, what: str, probability: float, sent: int, lost: int) -> Check:
    """Check that a count of lost packets is inside the interval of 99.99 % of correct outcomes."""
    low, high = binomial_interval(sent, probability, CONFIDENCE)
    share = lost / sent if sent else None
    error = None if share is None else share - probability
    bounds = (low / max(1, sent) - probability, high / max(1, sent) - probability)
    # Half a packet more, since counts are whole numbers.
    least, most = (bounds[0] - 0.5 / max(1, sent), bounds[1] + 0.5 / max(1, sent))
    return Check(group, what, "share", probability, share, error, "share", least, most, sent, {"lost": lost})


def burst_checks(chain: GilbertElliott, sent: int, arrived: Integers) -> list[Check]:
    """Check a chain that loses everything in its bad state: its share of losses, and its mean burst.

    Both lie inside the interval of 99.99 % of correct outcomes, by the normal approximation: neighbours in
    the chain are correlated by r = 1 - P - R, which makes the variance of the share (1 + r) / (1 - r) times
    the binomial one; a burst is geometric with variance b (b - 1).

    Args:
        chain: the requested chain.
        sent: packets 0 to sent - 1.
        arrived: int64[m], the packets that arrived, in order.
    """
    mean_burst, share = 1 / chain.bad_to_good, chain.mean_loss
    gaps = np.diff(np.concatenate([[-1], arrived, [sent]])) - 1
    bursts, lost = int(np.sum(gaps > 0)), sent - len(arrived)
    correlation = 1 - chain.good_to_bad - chain.bad_to_good
    sigma = math.sqrt(share * (1 - share) / max(1, sent) * (1 + correlation) / (1 - correlation))
    most = NORMAL_QUANTILE * sigma
    found = lost / sent if sent else None
    error = None if found is None else found - share
    most_burst = NORMAL_QUANTILE * math.sqrt(mean_burst * (mean_burst - 1) / max(1, bursts)) / mean_burst
    return [
        Check(
            "loss", "loss in bursts", "share", share, found, error, "share", -most, most, sent, {"lost": lost}
        ),
        share_check(
            "loss",
            "mean burst of losses",
            "packets",
            mean_burst,
            lost / bursts if bursts else None,
            most_burst,
            bursts,
        ),
    ]


def jitter_checks(requested_s: float, jitter_s: float, one_way_s: Floats, late_s: float) -> list[Check]:
    """Check that one-way times are uniform over requested_s - jitter_s to requested_s + jitter_s, seconds.

    The standard deviation of n uniform draws is jitter_s / sqrt(3), with a relative standard error of
    sqrt(0.2 / n) (kurtosis 1.8).

    Args:
        requested_s: requested one-way time.
        jitter_s: requested jitter.
        one_way_s: float64[n], measured one-way times.
        late_s: how far beyond the interval the 99th of 100 packets may be.
    """
    count = len(one_way_s)
    deviation_s = float(np.std(one_way_s)) if count > 1 else None
    late_p99_s = float(np.percentile(one_way_s - requested_s - jitter_s, 99)) if count else math.nan
    return [
        share_check(
            "jitter",
            f"standard deviation of +-{jitter_s * 1e3:g} ms",
            "s",
            jitter_s / math.sqrt(3),
            deviation_s,
            NORMAL_QUANTILE * math.sqrt(0.2 / max(1, count)),
            count,
        ),
        none_check(
            "jitter", "earlier than the jitter", int(np.sum(one_way_s < requested_s - jitter_s)), count
        ),
        at_most_check("jitter", "later than the jitter, p99", [max(0.0, late_p99_s)], late_s),
    ]


def binomial_interval(n: int, p: float, confidence: float) -> tuple[int, int]:
    """Return the counts (low, high) outside of which lie at most (1 - confidence) / 2 on each side."""
    if n == 0 or p <= 0:
        return 0, 0
    if p >= 1:
        return n, n
    k = np.arange(n + 1)
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    log_choose = log_factorial[n] - log_factorial - log_factorial[::-1]
    below = np.cumsum(np.exp(log_choose + k * math.log(p) + (n - k) * math.log1p(-p)))
    tail = (1 - confidence) / 2
    return int(np.searchsorted(below, tail)), min(n, int(np.searchsorted(below, 1 - tail)))


def goodput_bit_s(rate_bit_s: float) -> float:
    """Return the TCP payload rate of a link that is always busy with full frames, bit/s."""
    return rate_bit_s * TCP_SEGMENT_BYTES / FULL_FRAME_BYTES


def message_s(size_bytes: int, rate_bit_s: float, delay_s: float) -> float:
    """Return the time of a message on an open, idle TCP connection whose window holds it all, seconds."""
    segments = math.ceil(size_bytes / TCP_SEGMENT_BYTES)
    return (size_bytes + segments * TCP_HEADERS_BYTES) * 8 / rate_bit_s + delay_s
