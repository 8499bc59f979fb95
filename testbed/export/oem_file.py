"""Satellites of a scene as Orbit Ephemeris Messages (CCSDS 502.0-B-3, key-value notation)."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from skyfield.api import EarthSatellite, load

from testbed.export.scene import Scene
from traces.orbits.element_set import ElementSet

STEP_S = 60.0
ORIGINATOR = "SPACEVERSE"


def oem_text(scene: Scene, satellite: ElementSet, created_utc: datetime) -> str:
    """Return the message of a satellite: positions and velocities in GCRF, times in UTC.

    Args:
        scene: the scene.
        satellite: one of its satellites; a message is about one object.
        created_utc: when the message is written.
    """
    header = [
        "CCSDS_OEM_VERS = 2.0",
        f"CREATION_DATE = {_time(created_utc)}",
        f"ORIGINATOR = {ORIGINATOR}",
    ]
    return "\n".join([*header, "", _segment(scene, satellite)])


def _segment(scene: Scene, satellite: ElementSet) -> str:
    start, end = _time(scene.start_utc), _time(scene.end_utc)
    lines = [
        "META_START",
        f"COMMENT SGP4, elements of {_time(satellite.epoch_utc)}",
        f"OBJECT_NAME = {satellite.name}",
        f"OBJECT_ID = {_designator(satellite)}",
        "CENTER_NAME = EARTH",
        "REF_FRAME = GCRF",
        "TIME_SYSTEM = UTC",
        f"START_TIME = {start}",
        f"STOP_TIME = {end}",
        "INTERPOLATION = LAGRANGE",
        "INTERPOLATION_DEGREE = 7",
        "META_STOP",
        "",
        *_states(scene, satellite),
        "",
    ]
    return "\n".join(lines)


def _states(scene: Scene, satellite: ElementSet) -> list[str]:
    times_s = scene.times_s(STEP_S)
    moments = [scene.start_utc + timedelta(seconds=float(time_s)) for time_s in times_s]
    scale = load.timescale(builtin=True)
    at = EarthSatellite.from_satrec(satellite.model(), scale).at(scale.from_datetimes(moments))
    rows = zip(moments, at.xyz.km.T.tolist(), at.velocity.km_per_s.T.tolist(), strict=True)
    return [
        " ".join([_time(moment), *(f"{value:.6f}" for value in position), *(f"{v:.9f}" for v in velocity)])
        for moment, position, velocity in rows
    ]


def _designator(satellite: ElementSet) -> str:
    """Return the international designator, such as 2016-040U; the name where there is none."""
    launch = satellite.line1[9:17].strip() if satellite.line1 else ""
    if len(launch) < 6 or not launch[:5].isdigit():
        return satellite.catalogue_number or satellite.name
    century = "19" if int(launch[:2]) >= 57 else "20"
    return f"{century}{launch[:2]}-{launch[2:]}"


def _time(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]
