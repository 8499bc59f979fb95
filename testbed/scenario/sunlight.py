"""Power of the satellites' solar panels during a run, computed ahead."""

from __future__ import annotations

from collections.abc import Mapping

from nodes.contract.power.sunlight import Sunlight, SunRow
from testbed.scenario.elements import element_sets_of
from testbed.scenario.model import Scenario
from traces.orbits.elements import find_satellite
from traces.orbits.sunlight import Panel, solar_inputs
from traces.trace import Trace


def sunlights(scenario: Scenario, traces: Mapping[str, Trace]) -> dict[str, Sunlight]:
    """Return what the panels of each satellite with power give, until the run can be over.

    Args:
        scenario: the scenario.
        traces: of its links, by name; their ends tell its length.
    """
    length_s = max(trace.end_s for trace in traces.values()) + scenario.grace_s
    found = {}
    for satellite in scenario.satellites:
        power, orbit = satellite.power, scenario.orbit_of(satellite.name)
        if power is None or orbit is None:
            continue
        elements = find_satellite(
            element_sets_of(orbit.elements, orbit.start), satellite.name, at_utc=orbit.start
        )
        panels = [Panel(p.area_m2, power.panel_efficiency, p.normal) for p in power.panels]
        inputs = solar_inputs(elements, panels, orbit.start, length_s)
        rows = [SunRow(time_s=row.time_s, input_w=row.input_w, sunlit=row.sunlit) for row in inputs]
        found[satellite.name] = Sunlight(rows=tuple(rows))
    return found
