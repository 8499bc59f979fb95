"""Scenarios: the description of a run as data, and the files that hold one."""

from testbed.scenario.model import (
    Frame,
    GroundStation,
    InterSatelliteLink,
    Link,
    MissionControl,
    NodeProgram,
    Orbit,
    RadioChanges,
    Satellite,
    Scenario,
    Sight,
    TerrestrialLink,
    read_frames,
)

__all__ = [
    "Frame",
    "GroundStation",
    "InterSatelliteLink",
    "Link",
    "MissionControl",
    "NodeProgram",
    "Orbit",
    "RadioChanges",
    "Satellite",
    "Scenario",
    "Sight",
    "TerrestrialLink",
    "read_frames",
]
