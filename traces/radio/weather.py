"""What the air takes from a radio link: gases, clouds, rain and scintillation, as ITU-R P.618 has it.

The figures are those of the package `itur` (P.618-13, and the recommendations and maps that it names), an
optional extra: its maps are 160 MB.  They are statistics: an attenuation is exceeded during so many per cent
of an average year, which says nothing of today's weather.
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
"""Diameter of the antenna; only scintillation knows it, some tenths of a dB."""

# P.618's rain model holds from 5 degrees on.
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
    """Return the attenuation of the slant path that is exceeded `exceeded_percent` of an average year.

    Between nine elevations it is interpolated; below 5 degrees it is that of 5 degrees, too little.

    Args:
        place: where; the climate is that of its coordinates.
        carrier_hz: 1 to 55 GHz.
        elevation_deg: float64[n].
        exceeded_percent: 0.001 to 50, of an average year: 0.1 is 9 hours.
        dish_m: the antenna's diameter.

    Raises:
        LinkBudgetError: `itur` is not installed, or a number is out of the recommendation's range.
    """
    if not (1e9 <= carrier_hz <= 55e9 and 0.001 <= exceeded_percent <= 50 and 0 < dish_m <= 100):
        raise LinkBudgetError(
            f"no attenuation for {carrier_hz / 1e9:g} GHz, {exceeded_percent:g} % and {dish_m:g} m;"
            " ITU-R P.618 holds for 1 to 55 GHz and 0.001 to 50 % of a year"
        )
    try:
        itur: Any = importlib.import_module("itur")  # optional, and slow to import
    except ImportError:
        raise LinkBudgetError(
            "attenuation by weather needs the package itur; run: pip install 'spaceverse-testbed[weather]'"
        ) from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own approximations
        table = itur.atmospheric_attenuation_slant_path(
            place.latitude_deg,
            place.longitude_deg,
            carrier_hz / 1e9,
            _ELEVATIONS_DEG,
            exceeded_percent,
            dish_m,
            hs=max(0.0, place.altitude_m / 1e3),
        )
    # The path through the air is as 1 / sin(elevation): on logarithms of both the curve is nearly straight.
    known_db = np.log(np.maximum(np.asarray(table.value, dtype=np.float64), 1e-6))
    sine = np.sin(np.radians(np.clip(np.asarray(elevation_deg, dtype=np.float64), _ELEVATIONS_DEG[0], 90)))
    return np.asarray(
        np.exp(np.interp(np.log(sine), np.log(np.sin(_ELEVATIONS_DEG * math.pi / 180)), known_db))
    )
