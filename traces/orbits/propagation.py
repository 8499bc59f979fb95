"""States (position and velocity) of many satellites at many times, in the Earth-fixed frame ITRS.

SGP4 runs over all satellites and times in one call of sgp4's `SatrecArray`. Its frame is TEME (true equator,
mean equinox); a rotation about the z axis by the Greenwich mean sidereal time of 1982 gives ITRS (Vallado et
al., AIAA 2006-6753, appendix C). skyfield converts by way of GCRS, applying precession and nutation in both
directions; as they cancel, leaving them out loses no accuracy and saves time. Polar motion (at most 10 m) is
left out, as in skyfield's default.

Lengths are in metres, times in seconds from a start in UTC, as in a trace.
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
"""Age of elements after which an SGP4 prediction at 500 km altitude is off by some km, or seconds of AOS."""

LONGEST_WINDOW_S = 31 * 86_400.0
"""The longest window of a computation; elements are stale long before its end."""

_TT_MINUS_TAI_S = 32.184
_DAY_S = 86_400.0


@dataclass(frozen=True)
class States:
    """Positions and velocities of satellites in ITRS.

    Args:
        position_m: float64[3, ...].
        velocity_m_s: float64[3, ...], relative to the rotating Earth.
    """

    position_m: Floats
    velocity_m_s: Floats

    def __getitem__(self, key: Any) -> States:
        """Select satellites and times; the axis of the three components is kept."""
        rows = (slice(None), *(key if isinstance(key, tuple) else (key,)))
        return States(self.position_m[rows], self.velocity_m_s[rows])


class Fleet:
    """Satellites that are propagated together.

    Args:
        satellites: element sets, or skyfield's `EarthSatellite` objects.
        start_utc: the origin of all times, with a time zone.

    Raises:
        OrbitError: There is no satellite.
    """

    def __init__(self, satellites: Sequence[Satellite], start_utc: datetime) -> None:
        self.element_sets = tuple(element_set_of(satellite) for satellite in satellites)
        if not self.element_sets:
            raise OrbitError("no satellite was given; expected at least one")
        self.start_utc = start_utc
        self._models = [elements.model() for elements in self.element_sets]

    def __len__(self) -> int:
        """Return the number of satellites."""
        return len(self.element_sets)

    def states(self, times_s: npt.ArrayLike) -> States:
        """Return the states of all satellites at all times, with components [3, satellites, times].

        Raises:
            OrbitError: SGP4 cannot propagate a satellite to one of the times; the message names both.
        """
        moments = moments_at(self.start_utc, times_s)
        jd, fraction = _sgp4_time(moments)
        errors, position_km, velocity_km_s = SatrecArray(self._models).sgp4(jd, fraction)
        if errors.any():
            satellite, time = (int(index[0]) for index in np.nonzero(errors))
            raise self._refusal(satellite, moments[time], int(errors[satellite, time]))
        return _itrs(np.moveaxis(position_km, -1, 0), np.moveaxis(velocity_km_s, -1, 0), moments)

    def refused(self, times_s: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Tell which satellites SGP4 cannot propagate to all of the times."""
        errors, _, _ = SatrecArray(self._models).sgp4(*_sgp4_time(moments_at(self.start_utc, times_s)))
        return np.asarray((errors != 0).any(1))

    def states_of(self, satellite: Indices, times_s: Floats) -> States:
        """Return the state of each satellite (an index) at its own time, with components [3, n].

        Raises:
            OrbitError: SGP4 cannot propagate a satellite to its time; the message names both.
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
            f" {SGP4_ERRORS.get(error, 'the position is not a number')};"
            " use elements with a nearer epoch"
        )


def moments_at(start_utc: datetime, times_s: npt.ArrayLike) -> Any:
    """Return `start_utc` + `times_s` as skyfield's times; leap seconds are counted."""
    start = start_utc.astimezone(timezone.utc)
    seconds = start.second + start.microsecond * 1e-6 + np.atleast_1d(times_s).astype(np.float64)
    return timescale().utc(start.year, start.month, start.day, start.hour, start.minute, seconds)


@functools.lru_cache(maxsize=1)
def timescale() -> Any:
    """Return skyfield's time scale, built from the data in its package, without a download."""
    return load.timescale(builtin=True)


def check_window(start_utc: datetime, length_s: float) -> datetime:
    """Return the end of a window of time.

    Raises:
        OrbitError: The window is empty, longer than 31 days, or leaves the calendar.
    """
    if not 0 < length_s <= LONGEST_WINDOW_S:
        raise OrbitError(f"the window is {length_s} s long; expected more than 0 and at most 31 days")
    try:
        return start_utc + timedelta(seconds=length_s)
    except OverflowError:
        raise OrbitError(
            f"a window from {format_utc(start_utc)} leaves the calendar; start earlier"
        ) from None


def age_days(satellite: Satellite, start_utc: datetime, length_s: float) -> float:
    """Return the time in days between the elements' epoch and the farther end of a window.

    Raises:
        OrbitError: The window is empty, longer than 31 days, or leaves the calendar.
    """
    ends = (start_utc, check_window(start_utc, length_s))
    epoch_utc = element_set_of(satellite).epoch_utc
    return max(abs((end - epoch_utc).total_seconds()) for end in ends) / _DAY_S


def warn_if_stale(satellites: Satellite | Sequence[Satellite], start_utc: datetime, length_s: float) -> None:
    """Issue one StaleElementsWarning if a window is more than `STALE_AFTER_DAYS` from an epoch."""
    fleet = satellites if isinstance(satellites, Sequence) else [satellites]
    ages = [(age_days(member, start_utc, length_s), element_set_of(member)) for member in fleet]
    stale = [(days, elements) for days, elements in ages if days > STALE_AFTER_DAYS]
    if not stale:
        return
    days, oldest = max(stale, key=lambda pair: pair[0])
    whose = oldest.name if len(stale) == 1 else f"{len(stale)} satellites (the oldest: {oldest.name})"
    warnings.warn(
        f"elements of {whose} are {days:.1f} days from their epoch"
        f" ({format_utc(oldest.epoch_utc)}): positions may be off by many km;"
        f" use newer elements, or start within {STALE_AFTER_DAYS:g} days of the epoch",
        StaleElementsWarning,
        stacklevel=3,
    )


def _sgp4_time(moments: Any) -> tuple[Floats, Floats]:
    """Return the Julian date in UTC, the time scale of SGP4's epochs."""
    leap_s = moments.dut1 + moments.delta_t - _TT_MINUS_TAI_S  # TAI - UTC
    fraction = moments.tai_fraction - leap_s / _DAY_S
    return np.broadcast_to(moments.whole, fraction.shape).astype(np.float64), fraction


def _itrs(position_km: Floats, velocity_km_s: Floats, moments: Any) -> States:
    """Rotate states [3, ..., times] from TEME to ITRS."""
    theta, rate_per_day = theta_GMST1982(moments.whole, moments.ut1_fraction)
    cos, sin, rate = np.cos(theta) * 1e3, np.sin(theta) * 1e3, rate_per_day / _DAY_S
    (x, y, z), (vx, vy, vz) = position_km, velocity_km_s
    position_m, velocity_m_s = np.empty((2, *position_km.shape))
    position_m[0], position_m[1], position_m[2] = cos * x + sin * y, cos * y - sin * x, 1e3 * z
    velocity_m_s[0] = cos * vx + sin * vy + rate * position_m[1]
    velocity_m_s[1] = cos * vy - sin * vx - rate * position_m[0]
    velocity_m_s[2] = 1e3 * vz
    return States(position_m, velocity_m_s)
