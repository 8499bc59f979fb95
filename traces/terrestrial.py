"""Links on the ground: the delay of a fibre between two places, and the trace of a constant link."""

from __future__ import annotations

import math
from datetime import datetime

import numpy as np

from traces.orbits.stations import GroundStation
from traces.radio.link_budget import SPEED_OF_LIGHT_M_S
from traces.trace import Trace, TraceHeader

EARTH_RADIUS_M = 6_371_008.8
"""Mean radius of the Earth (IUGG)."""

FIBRE_SPEED_M_S = SPEED_OF_LIGHT_M_S * 2 / 3
"""Speed of light in glass of refractive index 1.5."""

DETOUR = 1.5
"""Default length of a fibre as a multiple of the great circle: our own assumption."""

TERRESTRIAL_BIT_S = 1e9
"""Default rate of a terrestrial link."""


def great_circle_m(one: GroundStation, other: GroundStation) -> float:
    """Return the distance between two places along a sphere, by the haversine formula."""
    one_rad, other_rad = math.radians(one.latitude_deg), math.radians(other.latitude_deg)
    east_rad = math.radians(other.longitude_deg - one.longitude_deg)
    chord = (
        math.sin((other_rad - one_rad) / 2) ** 2
        + math.cos(one_rad) * math.cos(other_rad) * math.sin(east_rad / 2) ** 2
    )
    return 2 * EARTH_RADIUS_M * math.asin(math.sqrt(min(1.0, chord)))


def fibre_delay_s(one: GroundStation, other: GroundStation, detour: float = DETOUR) -> float:
    """Return the one-way delay of a fibre between two places, without that of routers.

    Args:
        one: a place.
        other: another one.
        detour: length of the fibre as a multiple of the great circle.
    """
    return great_circle_m(one, other) * detour / FIBRE_SPEED_M_S


def constant_trace(
    ends: tuple[str, str],
    start_utc: datetime,
    end_s: float,
    *,
    delay_s: float,
    rate_bit_s: float,
    made_by: str,
) -> Trace:
    """Return the trace of a link that is always up and stays as it is.

    Args:
        ends: names of its ends.
        start_utc: second 0, with a time zone.
        end_s: length in seconds.
        delay_s: one-way delay in both directions.
        rate_bit_s: rate in both directions.
        made_by: where the values come from.
    """
    up, rate, delay, none = np.ones(1, bool), np.array([rate_bit_s]), np.array([delay_s]), np.zeros(1)
    return Trace(
        header=TraceHeader(*ends, start_utc, made_by),
        time_s=np.zeros(1),
        downlink_up=up,
        uplink_up=up,
        down_bit_s=rate,
        up_bit_s=rate,
        down_delay_s=delay,
        up_delay_s=delay,
        down_loss=none,
        up_loss=none,
        end_s=end_s,
    )
