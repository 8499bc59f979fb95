"""Emulate satellite networks and run real programs in them.

::

    from testbed import Scenario, run_scenario       a whole run: satellites, stations, models
    from testbed import EmulatedLink                 one link that follows a trace, under your own programs
    from testbed import ContactLink, LinkState       a contact link in your own Mininet script

The names are imported on first use: `import testbed` alone loads none of NumPy, Mininet and pydantic.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nodes.contract.power.parameters import Power, SolarPanel
    from testbed.cli.scenario.run import run_as_script
    from testbed.errors import (
        CapabilityError,
        InputError,
        LinkError,
        ScenarioError,
        ShaperDiedError,
        TestbedError,
        UsageError,
    )
    from testbed.network.contact_link import ContactLink
    from testbed.network.emulation import EmulatedLink, EmulatedNetwork
    from testbed.network.link_state import LinkState
    from testbed.network.sky import Sky
    from testbed.results.results import Results
    from testbed.run.parts.live import LivePage
    from testbed.run.progress import TerminalProgress
    from testbed.run.run import Outcome, run_scenario
    from testbed.run.traces import link_traces
    from testbed.scenario.constellation import Camera, Constellation
    from testbed.scenario.dishes.plan import DishPlan, dish_plan
    from testbed.scenario.dishes.schedulers import DishScheduler, InView
    from testbed.scenario.faults import BitFlips, LinkCut, RateDegraded, SatelliteLost, StationDown
    from testbed.scenario.file import load_scenario
    from testbed.scenario.model import (
        Frame,
        GroundStation,
        InterSatelliteLink,
        Link,
        MissionControl,
        Orbit,
        RadioChanges,
        Recorded,
        Satellite,
        Scenario,
        Sight,
        TerrestrialLink,
        read_frames,
    )
    from testbed.scenario.part import part_of
    from testbed.scenario.programs import Container, NodeProgram
    from testbed.scenario.tasks import NetworkChange, PolicyChange, Priority, Question
    from traces.trace import Trace

__all__ = [
    "BitFlips",
    "Camera",
    "CapabilityError",
    "Constellation",
    "ContactLink",
    "Container",
    "DishPlan",
    "DishScheduler",
    "EmulatedLink",
    "EmulatedNetwork",
    "Frame",
    "GroundStation",
    "InView",
    "InputError",
    "InterSatelliteLink",
    "Link",
    "LinkCut",
    "LinkError",
    "LinkState",
    "LivePage",
    "MissionControl",
    "NetworkChange",
    "NodeProgram",
    "Orbit",
    "Outcome",
    "PolicyChange",
    "Power",
    "Priority",
    "Question",
    "RadioChanges",
    "RateDegraded",
    "Recorded",
    "Results",
    "Satellite",
    "SatelliteLost",
    "Scenario",
    "ScenarioError",
    "ShaperDiedError",
    "Sight",
    "Sky",
    "SolarPanel",
    "StationDown",
    "TerminalProgress",
    "TerrestrialLink",
    "TestbedError",
    "Trace",
    "UsageError",
    "dish_plan",
    "link_traces",
    "load_scenario",
    "part_of",
    "read_frames",
    "run_as_script",
    "run_scenario",
]

_NAMES_BY_MODULE = {
    "nodes.contract.power.parameters": ("Power", "SolarPanel"),
    "testbed.cli.scenario.run": ("run_as_script",),
    "testbed.errors": (
        "CapabilityError",
        "InputError",
        "LinkError",
        "ScenarioError",
        "ShaperDiedError",
        "TestbedError",
        "UsageError",
    ),
    "testbed.network.contact_link": ("ContactLink",),
    "testbed.network.emulation": ("EmulatedLink", "EmulatedNetwork"),
    "testbed.network.link_state": ("LinkState",),
    "testbed.network.sky": ("Sky",),
    "testbed.results.results": ("Results",),
    "testbed.run.parts.live": ("LivePage",),
    "testbed.run.progress": ("TerminalProgress",),
    "testbed.run.traces": ("link_traces",),
    "testbed.run.run": ("Outcome", "run_scenario"),
    "testbed.scenario.constellation": ("Camera", "Constellation"),
    "testbed.scenario.dishes.plan": ("DishPlan", "dish_plan"),
    "testbed.scenario.dishes.schedulers": ("DishScheduler", "InView"),
    "testbed.scenario.part": ("part_of",),
    "testbed.scenario.programs": ("Container", "NodeProgram"),
    "testbed.scenario.faults": (
        "BitFlips",
        "LinkCut",
        "RateDegraded",
        "SatelliteLost",
        "StationDown",
    ),
    "testbed.scenario.file": ("load_scenario",),
    "testbed.scenario.model": (
        "Frame",
        "GroundStation",
        "InterSatelliteLink",
        "Link",
        "MissionControl",
        "Orbit",
        "RadioChanges",
        "Recorded",
        "Satellite",
        "Scenario",
        "Sight",
        "TerrestrialLink",
        "read_frames",
    ),
    "testbed.scenario.tasks": ("NetworkChange", "PolicyChange", "Priority", "Question"),
    "traces.trace": ("Trace",),
}
_MODULE_OF = {name: module for module, names in _NAMES_BY_MODULE.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULE_OF[name]), name)
    globals()[name] = value  # the next access does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
