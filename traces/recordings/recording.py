"""Recordings, and assumptions about what they lack.

A recording rarely describes a whole link: a ping log has no rate, a capacity trace has no delay, and a list
of contacts has neither. A reader returns only what was recorded. `traces.recordings.completion` makes a trace
of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timezone, tzinfo
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from traces.trace import FLAGS, Trace

if TYPE_CHECKING:
    from traces.orbits.element_set import ElementSet
    from traces.orbits.stations import GroundStation

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

RATES = ("down_bit_s", "up_bit_s")
DELAYS = ("down_delay_s", "up_delay_s")
LOSSES = ("down_loss", "up_loss")

SATURATED = (
    "the capacity was recorded with a saturating flow,"
    " which is optimistic for short messages (CellReplay, NSDI'25)"
)
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True)
class Assumptions:
    """Values that complete a recording; None adds nothing.

    A value for both directions fills what was not recorded. A value for one direction also replaces what was
    recorded in that direction.

    Args:
        rate_bit_s: rate of the directions without a recorded one.
        down_bit_s: rate from satellite to ground (download).
        up_bit_s: rate from ground to satellite (upload).
        delay_s: one-way delay of the directions without a recorded one.
        down_delay_s: one-way delay from satellite to ground.
        up_delay_s: one-way delay from ground to satellite.
        loss: probability that a packet is lost, for the directions without a recorded one.
        down_loss: probability that a packet to the ground is lost.
        up_loss: probability that a packet to the satellite is lost.
        delays: a trace or recording whose delays fill the directions without a recorded one, at the same UTC
            if the start of both is known.
        start_utc: time of the recording's beginning.
        zone: time zone of times without one.
        satellite: name of the satellite; also chooses among several pairs.
        station: name of the station; also chooses among several pairs.
        gaps: state of the link where nothing was measured: the last value ("hold"), no link ("down"), or the
            gap is cut out ("close").
        bin_s: interval over which delivery opportunities are counted.
        outage_s: time without a delivery opportunity, or without an answer to any of several probes, from
            which on the link is down, not slow or lossy.
        loss_window_s: interval over which lost probes are counted.
        interval_s: time between two probes or tests of a file without times.
        loop_s: time until which a shorter recording is repeated.
        delay_unit: unit of a file of integers with delays: s, ms, us or ns.
        elements: an orbit from which, with `place`, the delay is computed.
        place: the ground station for `elements`.
        range_delay: use the ranges of an ION plan, in whole light-seconds, as delays.
        columns: columns of a CSV file, declared as described in `traces.recordings.columns`.
        separator: separator of a CSV file; None: that of its first line.
        missing: numbers that stand for a missing value in a CSV file.
    """

    rate_bit_s: float | None = None
    down_bit_s: float | None = None
    up_bit_s: float | None = None
    delay_s: float | None = None
    down_delay_s: float | None = None
    up_delay_s: float | None = None
    loss: float | None = None
    down_loss: float | None = None
    up_loss: float | None = None
    delays: Trace | Recording | None = None
    start_utc: datetime | None = None
    zone: tzinfo | None = None
    satellite: str | None = None
    station: str | None = None
    gaps: str = "hold"
    bin_s: float = 0.1
    outage_s: float = 1.0
    loss_window_s: float = 1.0
    interval_s: float | None = None
    loop_s: float | None = None
    delay_unit: str = "ms"
    elements: ElementSet | None = None
    place: GroundStation | None = None
    range_delay: bool = False
    columns: str | None = None
    separator: str | None = None
    missing: tuple[float, ...] = ()


@dataclass(frozen=True)
class Orbit:
    """An orbit and a station from which delays are computed.

    Args:
        begin_s: second of the recording from which on they are used, until the next one begins.
        elements: the orbit.
        place: the station.
    """

    begin_s: float
    elements: ElementSet
    place: GroundStation


@dataclass
class Recording:
    """The content of a recording's file.

    Args:
        form: name of the format.
        name: name of the file, for messages.
        time_s: float64[n], strictly increasing from 0.
        end_s: end of the last row.
        values: some of `traces.trace.VALUES`, float64[n] each; NaN where nothing was measured.
        downlink_up: bool[n], False in outages of the downlink; None if none is known.
        uplink_up: bool[n], likewise of the uplink.
        start_utc: time of second 0, if the file has it.
        satellite: name of the satellite, if the file has it.
        station: name of the station, if the file has it.
        notes: what the reader assumed or changed, one line each.
        orbits: orbits and stations in order of time, if the file has them.
        substitutes: float64[n] for some of them, used if a value is neither recorded nor given.
        substitute_notes: what is said of a substitute that is used, if there is more to say than its name.
        gaps_s: float64[m, 2], begin and end of the times in which nothing was measured.
    """

    form: str
    name: str
    time_s: Floats
    end_s: float
    values: dict[str, Floats] = field(default_factory=dict)
    downlink_up: Bools | None = None
    uplink_up: Bools | None = None
    start_utc: datetime | None = None
    satellite: str | None = None
    station: str | None = None
    notes: list[str] = field(default_factory=list)
    orbits: tuple[Orbit, ...] = ()
    gaps_s: Floats = field(default_factory=lambda: np.empty((0, 2)))
    substitutes: dict[str, Floats] = field(default_factory=dict)
    substitute_notes: dict[str, str] = field(default_factory=dict)

    def ups(self) -> tuple[Bools, Bools]:
        """Return bool[n] of the downlink and of the uplink; the same array if they are alike."""
        always = np.broadcast_to(True, len(self.time_s))
        down, up = (always if flag is None else flag for flag in (self.downlink_up, self.uplink_up))
        return down, up


def both_ways(up: Bools | None) -> dict[str, Any]:
    """Return the arguments of a `Recording` whose directions are up and down together."""
    return dict.fromkeys(FLAGS, up)
