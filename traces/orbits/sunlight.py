"""Electrical power from a satellite's solar panels, ahead of time: orbit, attitude and eclipses.

The satellite looks down: its z axis points to the Earth's centre, its y axis against the normal of the orbit,
and its x axis along the flight (in a circular orbit). A panel is fixed to it, or turns to the sun. Shadows of
one part on another, sunlight from the Earth, and the temperature and age of the cells are left out; the
efficiency has to account for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt

from traces.orbits.eclipse import eclipses
from traces.orbits.elements import Satellite
from traces.orbits.propagation import Fleet, States
from traces.orbits.sun import sun_direction, sun_distance_au

Floats = npt.NDArray[np.float64]

SOLAR_CONSTANT_W_M2 = 1361.0  # at 1 AU; Kopp and Lean, Geophys. Res. Lett. 38, L01706 (2011)
STEP_S = 60.0  # 4 degrees of a low orbit
_EARTH_RATE_RAD_S = 7.292115e-5  # WGS 84
_APART_S = 1e-3  # rows that are closer are one


@dataclass(frozen=True, slots=True)
class Panel:
    """A solar panel.

    Args:
        area_m2: area of its cells.
        efficiency: electrical power on the bus over the sunlight on the cells.
        normal: its direction in the satellite's axes (see above), of any length; None: it turns to the sun.
    """

    area_m2: float
    efficiency: float
    normal: tuple[float, float, float] | None = None


@dataclass(frozen=True, slots=True)
class SolarInput:
    """Power from `time_s` until the next one.

    Args:
        time_s: begin, seconds from the window's start.
        input_w: mean electrical power.
        sunlit: whether the satellite sees the sun.
    """

    time_s: float
    input_w: float
    sunlit: bool


def solar_inputs(
    satellite: Satellite, panels: Sequence[Panel], start_utc: datetime, length_s: float
) -> list[SolarInput]:
    """Return the power of all panels in a window, in steps of STEP_S that are cut at the edges of eclipses.

    Args:
        satellite: an element set or skyfield's EarthSatellite object.
        panels: its solar panels.
        start_utc: begin of the window, with a time zone.
        length_s: its length.

    Raises:
        OrbitError: SGP4 cannot propagate the satellite, or the window is empty or longer than 31 days.
    """
    dark = eclipses(satellite, start_utc, length_s)
    edges_s = [edge_s for span in dark for edge_s in span]
    grid_s = np.arange(0.0, length_s, STEP_S)
    begins_s = np.unique(np.concatenate([grid_s, [edge_s for edge_s in edges_s if edge_s < length_s]]))
    begins_s = begins_s[np.diff(begins_s, append=length_s) > _APART_S]
    middles_s = (begins_s + np.append(begins_s[1:], length_s)) / 2
    lit = np.array([not any(begin <= time_s < end for begin, end in dark) for time_s in middles_s])
    states = Fleet([satellite], start_utc).states(middles_s)[0]
    power_w = np.where(lit, panels_w(panels, states, start_utc, middles_s), 0.0)
    return [
        SolarInput(float(time_s), float(input_w), bool(sunlit))
        for time_s, input_w, sunlit in zip(begins_s, power_w, lit, strict=True)
    ]


def panels_w(panels: Sequence[Panel], states: States, start_utc: datetime, times_s: Floats) -> Floats:
    """Return the power of panels in full sunlight, float64[n].

    Args:
        panels: the panels.
        states: of the satellite in the Earth-fixed frame, with components [3, n].
        start_utc: the origin of the times, with a time zone.
        times_s: float64[n].
    """
    to_sun = np.einsum("acn,cn->an", body_axes(states), sun_direction(start_utc, times_s))
    facing_m2 = np.zeros(len(times_s))
    for panel in panels:
        cosine: Floats | float = 1.0
        if panel.normal is not None:
            cosine = np.maximum(0.0, panel.normal @ to_sun / np.linalg.norm(panel.normal))
        facing_m2 = facing_m2 + panel.area_m2 * panel.efficiency * cosine
    power_w: Floats = SOLAR_CONSTANT_W_M2 / sun_distance_au(start_utc, times_s) ** 2 * facing_m2
    return power_w


def body_axes(states: States) -> Floats:
    """Return the satellite's axes x, y, z in the Earth-fixed frame, float64[axis, component, n]."""
    position_m = states.position_m
    spin = np.array([0.0, 0.0, _EARTH_RATE_RAD_S])[:, None]
    inertial_m_s = states.velocity_m_s + np.cross(spin, position_m, axis=0)
    down = -position_m / np.linalg.norm(position_m, axis=0)
    side = np.cross(down, inertial_m_s, axis=0)
    side = side / np.linalg.norm(side, axis=0)
    return np.stack([np.cross(side, down, axis=0), side, down])
