"""Scenarios: the description of a run as data, and the files that hold one."""

from testbed.scenario.model import (
    Frame,
    GroundStation,
    InterSatelliteLink,
    Link,
    MissionControl,
    Orbit,
    RadioChanges,
    Satellite,
    Scenario,
    Sight,
    TerrestrialLink,
    read_frames,
)
from testbed.scenario.programs import Container, NodeProgram

__all__ = [
    "Container",
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
