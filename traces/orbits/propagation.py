"""States of many satellites at many times, in the frame that turns with the Earth.

SGP4 runs over all satellites and times in one call of sgp4's `SatrecArray`.  SGP4's frame is TEME (true
equator, mean equinox); one turn about the z axis by Greenwich mean sidereal time of 1982 brings it into
ITRS (Vallado et al., AIAA 2006-6753, appendix C).  skyfield goes by way of GCRS, with precession and
nutation there and back again; both cancel, so that nothing is lost by leaving them out, and 0.1 ms per moment
is gained.  Polar motion (10 m at most) is left out, as skyfield does unless told otherwise.

Lengths are metres, times seconds from a start in UTC, as in a trace.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import numpy.typing as npt
from sgp4.api import SGP4_ERRORS, SatrecArray
from skyfield.api import load
from skyfield.sgp4lib import theta_GMST1982

from traces.errors import OrbitError, StaleElementsWarning
from traces.orbits.elements import Satellite, element_set_of
from traces.utc import format_utc

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

STALE_AFTER_DAYS = 7.0
"""An SGP4 prediction is off by some km after this long at 500 km; seconds of AOS."""

LONGEST_WINDOW_S = 31 * 86_400.0
"""Elements are stale long before."""

_TT_MINUS_TAI_S = 32.184
_DAY_S = 86_400.0


@dataclass(frozen=True)
class States:
    """Where satellites are and how they move, in ITRS.

    Args:
        position_m: float64[3, ...].
        velocity_m_s: float64[3, ...], as seen from the turning Earth.
    """

    position_m: Floats
    velocity_m_s: Floats

    def __getitem__(self, key: Any) -> States:
        """Select satellites and times; the three components stay."""
        rows = (slice(None), *(key if isinstance(key, tuple) else (key,)))
        return States(self.position_m[rows], self.velocity_m_s[rows])


class Fleet:
    """Satellites that are propagated together.

    Args:
        satellites: element sets, or skyfield's `EarthSatellite` objects.
        start_utc: what seconds are counted from, with a zone.

    Raises:
        OrbitError: there is no satellite.
    """

    def __init__(self, satellites: Sequence[Satellite], start_utc: datetime) -> None:
        self.element_sets = tuple(element_set_of(satellite) for satellite in satellites)
        if not self.element_sets:
            raise OrbitError("no satellite is given; expected at least one")
        self.start_utc = start_utc
        self._models = [one.model() for one in self.element_sets]

    def __len__(self) -> int:
        """Return the number of satellites."""
        return len(self.element_sets)

    def states(self, times_s: npt.ArrayLike) -> States:
        """Return the states of all satellites at all times: components [3, satellites, times].

        Raises:
            OrbitError: SGP4 refuses one of them at one of the times; names both.
        """
        moments = moments_at(self.start_utc, times_s)
        jd, fraction = _sgp4_time(moments)
        errors, position_km, velocity_km_s = SatrecArray(self._models).sgp4(jd, fraction)
        if errors.any():
            satellite, time = (int(index[0]) for index in np.nonzero(errors))
            raise self._refusal(satellite, moments[time], int(errors[satellite, time]))
        return _itrs(np.moveaxis(position_km, -1, 0), np.moveaxis(velocity_km_s, -1, 0), moments)

    def refused(self, times_s: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Tell which satellites SGP4 refuses at one of the times."""
        errors, _, _ = SatrecArray(self._models).sgp4(*_sgp4_time(moments_at(self.start_utc, times_s)))
        return np.asarray((errors != 0).any(1))

    def states_of(self, satellite: Indices, times_s: Floats) -> States:
        """Return the state of each satellite (an index) at its own time: components [3, n].

        Raises:
            OrbitError: SGP4 refuses one of them at its time; names both.
        """
        moments = moments_at(self.start_utc, times_s)
        jd, fraction = _sgp4_time(moments)
        position_km, velocity_km_s = np.empty((2, len(times_s), 3))
        order = np.argsort(satellite, kind="stable")
        bounds = np.searchsorted(satellite[order], np.arange(len(self) + 1))
        for index in np.unique(satellite):
            rows = order[bounds[index] : bounds[index + 1]]
            errors, position, velocity = self._models[index].sgp4_array(jd[rows], fraction[rows])
            if errors.any():
                bad = int(np.flatnonzero(errors)[0])
                raise self._refusal(int(index), moments[int(rows[bad])], int(errors[bad]))
            position_km[rows], velocity_km_s[rows] = position, velocity
        return _itrs(position_km.T, velocity_km_s.T, moments)

    def _refusal(self, satellite: int, moment: Any, error: int) -> OrbitError:
        return OrbitError(
            f"{self.element_sets[satellite].name} cannot be propagated to {moment.utc_iso()}:"
            f" {SGP4_ERRORS.get(error, 'the position is not a number')}; use elements nearer to it"
        )


def moments_at(start_utc: datetime, times_s: npt.ArrayLike) -> Any:
    """Return skyfield's times; seconds may run over a minute's end, and leap seconds count."""
    start = start_utc.astimezone(timezone.utc)
    seconds = start.second + start.microsecond * 1e-6 + np.atleast_1d(times_s).astype(np.float64)
    return timescale().utc(start.year, start.month, start.day, start.hour, start.minute, seconds)


@functools.lru_cache(maxsize=1)
def timescale() -> Any:
    """Return skyfield's time scale, from the data that it ships: no download."""
    return load.timescale(builtin=True)


def check_window(start_utc: datetime, length_s: float) -> datetime:
    """Return a window's end.

    Raises:
        OrbitError: it is empty, over 31 days long, or leaves the calendar.
    """
    if not 0 < length_s <= LONGEST_WINDOW_S:
        raise OrbitError(f"the window is {length_s} s long; expected more than 0 and at most 31 days")
    try:
        return start_utc + timedelta(seconds=length_s)
    except OverflowError:
        raise OrbitError(
            f"a window from {format_utc(start_utc)} leaves the calendar; begin earlier"
        ) from None


def age_days(satellite: Satellite, start_utc: datetime, length_s: float) -> float:
    """Return how far the window's farther end is from the elements' epoch, days.

    Raises:
        OrbitError: the window is empty, over 31 days, or leaves the calendar.
    """
    ends = (start_utc, check_window(start_utc, length_s))
    epoch_utc = element_set_of(satellite).epoch_utc
    return max(abs((end - epoch_utc).total_seconds()) for end in ends) / _DAY_S


def warn_if_stale(satellites: Satellite | Sequence[Satellite], start_utc: datetime, length_s: float) -> None:
    """Warn (StaleElementsWarning), once, when a window is more than `STALE_AFTER_DAYS` from an epoch."""
    several = satellites if isinstance(satellites, Sequence) else [satellites]
    ages = [(age_days(one, start_utc, length_s), element_set_of(one)) for one in several]
    stale = [(days, one) for days, one in ages if days > STALE_AFTER_DAYS]
    if not stale:
        return
    days, oldest = max(stale, key=lambda pair: pair[0])
    whose = oldest.name if len(stale) == 1 else f"{len(stale)} satellites, the oldest those of {oldest.name},"
    warnings.warn(
        f"elements of {whose} are {days:.1f} days from their epoch"
        f" ({format_utc(oldest.epoch_utc)}): positions may be off by many km;"
        f" use newer elements, or a start within {STALE_AFTER_DAYS:g} days",
        StaleElementsWarning,
        stacklevel=3,
    )


def _sgp4_time(moments: Any) -> tuple[Floats, Floats]:
    """Return the Julian date in UTC, which is what SGP4 counts from an epoch in."""
    leap_s = moments.dut1 + moments.delta_t - _TT_MINUS_TAI_S  # TAI - UTC
    fraction = moments.tai_fraction - leap_s / _DAY_S
    return np.broadcast_to(moments.whole, fraction.shape).astype(np.float64), fraction


def _itrs(position_km: Floats, velocity_km_s: Floats, moments: Any) -> States:
    """Turn TEME [3, ..., times] into ITRS."""
    theta, rate_per_day = theta_GMST1982(moments.whole, moments.ut1_fraction)
    cos, sin, rate = np.cos(theta) * 1e3, np.sin(theta) * 1e3, rate_per_day / _DAY_S
    (x, y, z), (vx, vy, vz) = position_km, velocity_km_s
    position_m, velocity_m_s = np.empty((2, *position_km.shape))
    position_m[0], position_m[1], position_m[2] = cos * x + sin * y, cos * y - sin * x, 1e3 * z
    velocity_m_s[0] = cos * vx + sin * vy + rate * position_m[1]
    velocity_m_s[1] = cos * vy - sin * vx - rate * position_m[0]
    velocity_m_s[2] = 1e3 * vz
    return States(position_m, velocity_m_s)
