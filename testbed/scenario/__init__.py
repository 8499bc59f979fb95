"""Scenarios: the description of a run as data, and the files that hold one."""

from testbed.scenario.model import (
    Frame,
    GroundStation,
    Link,
    MissionControl,
    Orbit,
    RadioChanges,
    Satellite,
    Scenario,
    TerrestrialLink,
    read_frames,
)

__all__ = [
    "Frame",
    "GroundStation",
    "Link",
    "MissionControl",
    "Orbit",
    "RadioChanges",
    "Satellite",
    "Scenario",
    "TerrestrialLink",
    "read_frames",
]
