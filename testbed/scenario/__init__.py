"""Scenarios: the description of a run as data, and the files that hold one."""

from testbed.scenario.model import (
    Frame,
    GroundStation,
    Link,
    Orbit,
    RadioChanges,
    Satellite,
    Scenario,
    read_frames,
)

__all__ = [
    "Frame",
    "GroundStation",
    "Link",
    "Orbit",
    "RadioChanges",
    "Satellite",
    "Scenario",
    "read_frames",
]
