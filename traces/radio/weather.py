"""Attenuation of a radio link by the atmosphere: gases, clouds, rain and scintillation (ITU-R P.618).

The values come from the package `itur` (P.618-13 with the recommendations and maps that it refers to), which
is optional since its maps are large. They are statistics: an attenuation is exceeded for a percentage of an
average year, which says nothing about the weather on a certain day.
"""

from __future__ import annotations

import importlib
import math
import warnings
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from traces.errors import LinkBudgetError
from traces.radio.link_budget import Floats

DISH_M = 3.0
"""Default diameter of the antenna; it affects scintillation only, by some tenths of a dB."""

# P.618's rain model is valid from 5 degrees on.
_ELEVATIONS_DEG = np.array([5.01, 7, 10, 14, 20, 30, 45, 65, 90.0])


class Place(Protocol):
    """A place on the ground, such as a `GroundStation`."""

    @property
    def latitude_deg(self) -> float:
        """Geodetic latitude, north positive."""

    @property
    def longitude_deg(self) -> float:
        """Longitude, east positive."""

    @property
    def altitude_m(self) -> float:
        """Height above the WGS 84 ellipsoid."""


def attenuation_db(
    place: Place,
    carrier_hz: float,
    elevation_deg: npt.ArrayLike,
    *,
    exceeded_percent: float,
    dish_m: float = DISH_M,
) -> Floats:
    """Return the slant-path attenuation that is exceeded for `exceeded_percent` of an average year.

    It is interpolated between nine elevations. Below 5 degrees the value of 5 degrees is used, which is too
    low.

    Args:
        place: the ground station, whose coordinates determine the climate.
        carrier_hz: carrier frequency, 1 to 55 GHz.
        elevation_deg: float64[n].
        exceeded_percent: percentage of an average year, 0.001 to 50; 0.1 is 9 hours.
        dish_m: diameter of the antenna.

    Raises:
        LinkBudgetError: `itur` is not installed, or a parameter is out of the recommendation's range.
    """
    if not (1e9 <= carrier_hz <= 55e9 and 0.001 <= exceeded_percent <= 50 and 0 < dish_m <= 100):
        raise LinkBudgetError(
            f"no attenuation for {carrier_hz / 1e9:g} GHz, {exceeded_percent:g} % and {dish_m:g} m;"
            " ITU-R P.618 covers 1 to 55 GHz and 0.001 to 50 % of a year"
        )
    try:
        itur: Any = importlib.import_module("itur")  # optional, and slow to import
    except ImportError:
        raise LinkBudgetError(
            "attenuation by weather needs the package itur; run: pip install 'spaceverse-testbed[weather]'"
        ) from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of its own approximations
        table = itur.atmospheric_attenuation_slant_path(
            place.latitude_deg,
            place.longitude_deg,
            carrier_hz / 1e9,
            _ELEVATIONS_DEG,
            exceeded_percent,
            dish_m,
            hs=max(0.0, place.altitude_m / 1e3),
        )
    # The path length is proportional to 1 / sin(elevation), so log over log is nearly a straight line.
    known_db = np.log(np.maximum(np.asarray(table.value, dtype=np.float64), 1e-6))
    sine = np.sin(np.radians(np.clip(np.asarray(elevation_deg, dtype=np.float64), _ELEVATIONS_DEG[0], 90)))
    return np.asarray(
        np.exp(np.interp(np.log(sine), np.log(np.sin(_ELEVATIONS_DEG * math.pi / 180)), known_db))
    )
