"""Compute a trace from an orbit: the contacts of a satellite and a station, with delay and rates."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt

from traces.errors import TraceError
from traces.orbits.element_set import ElementSet
from traces.orbits.elements import Satellite, element_set_of
from traces.orbits.orbit import look_angles
from traces.orbits.passes import Pass, passes_over
from traces.orbits.propagation import warn_if_stale
from traces.orbits.stations import GroundStation
from traces.radio.link_budget import DOVE_S_BAND_UPLINK, DOVE_X_BAND, RadioLink, one_way_delay_s
from traces.radio.weather import attenuation_db
from traces.trace import Trace, TraceHeader

Floats = npt.NDArray[np.float64]

_MOST_ROWS = 20_000_000
_HIGHEST_WITHIN_S = 30.0
_SAMPLES_OF_A_PASS = 201
_NOT_CLOSED = {  # by whether the downlink and the uplink close
    (False, False): "downlink and the uplink do",
    (False, True): "downlink does",
    (True, False): "uplink does",
    (True, True): "links of both directions together do",
}
_WEATHER_FROM_HZ = 1e9  # below, the attenuation is some 0.01 dB, and P.618 does not apply


def make_trace(
    satellite: Satellite,
    station: GroundStation,
    start_utc: datetime,
    length_s: float,
    *,
    downlink: RadioLink = DOVE_X_BAND,
    uplink: RadioLink = DOVE_S_BAND_UPLINK,
    elevation_mask_deg: float | None = None,
    step_s: float = 1.0,
) -> Trace:
    """Compute the trace of one satellite over one station; its second 0 is `start_utc`.

    A contact has a row at AOS (to 1 ms), a row at each multiple of `step_s`, and ends with a row at LOS. A
    row has the values at its beginning; within a step of 1 s the delay changes by at most 26 us. Between
    contacts there is one row that is down, with all values 0. A direction is up while the satellite is above
    the mask and the budget of that direction closes.

    Args:
        satellite: element set, or skyfield's EarthSatellite.
        station: the ground station.
        start_utc: second 0 of the trace, with a time zone.
        length_s: length of the trace, at most 31 days.
        downlink: radio from satellite to ground. `downlink.capped(4e6)` limits its rate,
            `downlink.in_weather(0.1)` adds attenuation by rain and gases.
        uplink: radio from ground to satellite.
        elevation_mask_deg: replaces the station's own mask.
        step_s: time between rows during a contact.

    Raises:
        OrbitError: SGP4 cannot propagate the orbit over the whole window.
        StationError: The mask is out of range.
        TraceError: The step is not positive, or so small that there would be too many rows.
        LinkBudgetError: itur is not installed, or does not cover these carriers.

    Warns:
        StaleElementsWarning: The window is more than 7 days from the epoch of the elements.
    """
    element_set = element_set_of(satellite)
    _check_step(step_s)
    warn_if_stale(element_set, start_utc, length_s)
    contacts = passes_over(element_set, station, start_utc, length_s, elevation_mask_deg=elevation_mask_deg)
    mask_deg = station.elevation_mask_deg if elevation_mask_deg is None else elevation_mask_deg
    if sum(contact.duration_s for contact in contacts) / step_s > _MOST_ROWS:
        raise TraceError(f"a step of {step_s:g} s gives more than {_MOST_ROWS} rows; use a longer step")

    spans = [times for times in (_contact_times_s(contact, step_s) for contact in contacts) if times.size > 1]
    time_s = np.unique(np.concatenate([[0.0], *spans]))
    time_s = time_s[time_s < length_s]
    look = look_angles(element_set, station, start_utc, time_s)
    down_bit_s, up_bit_s = np.zeros_like(time_s), np.zeros_like(time_s)
    for span in spans:  # one contact at a time, since hysteresis depends on the order
        rows = slice(*np.searchsorted(time_s, (span[0], span[-1])))
        for radio, rates in ((downlink, down_bit_s), (uplink, up_bit_s)):
            weather_db = _weather_db(radio, station, look.elevation_deg[rows])
            rates[rows] = radio.rate_bit_s(look.slant_range_m[rows], weather_db)
    delay_s = np.where((down_bit_s > 0) | (up_bit_s > 0), one_way_delay_s(look.slant_range_m).round(9), 0.0)
    return Trace(
        header=_header(element_set, station, start_utc, mask_deg, (downlink, uplink)),
        time_s=time_s,
        downlink_up=down_bit_s > 0,
        uplink_up=up_bit_s > 0,
        down_bit_s=down_bit_s,
        up_bit_s=up_bit_s,
        down_delay_s=delay_s,
        up_delay_s=delay_s,
        down_loss=np.zeros_like(time_s),
        up_loss=np.zeros_like(time_s),
        end_s=length_s,
        extra={"elevation_deg": look.elevation_deg.round(4), "slant_range_m": look.slant_range_m.round(1)},
    )


@dataclass(frozen=True)
class MissingContacts:
    """The passes of a satellite in which the two directions are never up together, and the reason.

    Args:
        passes: number of passes in the window.
        silent: number of passes without a contact in both directions.
        reason: the reason, as the end of a sentence.
    """

    passes: int
    silent: int
    reason: str


def missing_contacts(
    trace: Trace,
    satellite: Satellite,
    station: GroundStation,
    *,
    downlink: RadioLink = DOVE_X_BAND,
    uplink: RadioLink = DOVE_S_BAND_UPLINK,
    elevation_mask_deg: float | None = None,
) -> MissingContacts | None:
    """Return why passes are missing in a trace of `make_trace`.

    None if in every pass both directions are up at some time. A satellite that stays below the mask is told
    apart from one whose radio link does not close.

    Args:
        trace: the trace, made with the following arguments.
        satellite: as for `make_trace`.
        station: as for `make_trace`.
        downlink: as for `make_trace`.
        uplink: as for `make_trace`.
        elevation_mask_deg: as for `make_trace`.
    """
    window = (trace.header.start_utc, trace.end_s)
    passes = passes_over(satellite, station, *window, elevation_mask_deg=elevation_mask_deg)
    if not passes:
        mask_deg = station.elevation_mask_deg if elevation_mask_deg is None else elevation_mask_deg
        grid_s = np.append(np.arange(0.0, trace.end_s, _HIGHEST_WITHIN_S), trace.end_s)
        highest_deg = float(look_angles(satellite, station, window[0], grid_s).elevation_deg.max())
        reason = f"it stays below the elevation mask of {mask_deg:g}° (highest elevation: {highest_deg:.1f}°)"
        return MissingContacts(0, 0, reason)
    contacts = trace.contacts("both")
    silent = [
        seen for seen in passes if not any(c.aos_s < seen.los_s and c.los_s > seen.aos_s for c in contacts)
    ]
    if not silent:
        return None
    grid_s = np.concatenate([np.linspace(seen.aos_s, seen.los_s, _SAMPLES_OF_A_PASS) for seen in silent])
    look = look_angles(satellite, station, window[0], grid_s)
    nearest = int(look.slant_range_m.argmin())
    weather = slice(nearest, nearest + 1)
    closed = [
        radio.rate_bit_s(
            look.slant_range_m[nearest], _weather_db(radio, station, look.elevation_deg[weather])
        ).min()
        > 0
        for radio in (downlink, uplink)
    ]
    above_s = sum(seen.duration_s for seen in silent)
    highest_deg = max(seen.max_elevation_deg for seen in silent)
    reason = (
        f"it is above the elevation mask for {above_s:.0f} s (up to {highest_deg:.1f}°), but the"
        f" {_NOT_CLOSED[tuple(closed)]} not close at its distance of at least"
        f" {look.slant_range_m[nearest] / 1e3:.0f} km"
    )
    return MissingContacts(len(passes), len(silent), reason)


def _check_step(step_s: float) -> None:
    if not (np.isfinite(step_s) and step_s >= 1e-3):
        raise TraceError(f"step is {step_s} s; expected at least 0.001")


def _contact_times_s(contact: Pass, step_s: float) -> Floats:
    """Return the times of a contact's rows: AOS, the multiples of the step, and LOS."""
    aos_s, los_s = round(contact.aos_s, 3), round(contact.los_s, 3)
    steps = np.arange(np.floor(aos_s / step_s) + 1, np.ceil(los_s / step_s)) * step_s
    inside = steps.round(6)
    return np.unique([aos_s, *inside[(inside > aos_s) & (inside < los_s)], los_s])


def _weather_db(radio: RadioLink, station: GroundStation, elevation_deg: Floats) -> Floats | float:
    if radio.weather_percent is None or radio.carrier_hz < _WEATHER_FROM_HZ:
        return 0.0
    return attenuation_db(station, radio.carrier_hz, elevation_deg, exceeded_percent=radio.weather_percent)


def _header(
    element_set: ElementSet,
    station: GroundStation,
    start_utc: datetime,
    mask_deg: float,
    radios: tuple[RadioLink, RadioLink],
) -> TraceHeader:
    """Return a header with all parameters that reproduce the trace."""
    place = f"{station.latitude_deg:g}, {station.longitude_deg:g}, {station.altitude_m:g} m"
    return TraceHeader(
        satellite=element_set.name,
        station=station.name,
        start_utc=start_utc,
        made_by="spaceverse trace make (SGP4, geometric elevation)",
        notes=(
            *(f"elements: {line}" for line in element_set.text_lines()),
            f"station: {place}, elevation mask {mask_deg:g} deg",
            f"downlink: {radios[0].summary()}",
            f"uplink: {radios[1].summary()}",
        ),
        element_epoch_utc=element_set.epoch_utc,
    )
