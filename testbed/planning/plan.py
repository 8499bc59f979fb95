"""The plan of a scenario: contacts, capacity, load and expected backlog, computed from its traces alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from testbed.results.drawings import Track
from testbed.run.offered_load import SatelliteLoad, satellite_loads
from testbed.run.traces import link_traces, link_track, played_traces
from testbed.scenario.capacity import carried_bytes
from testbed.scenario.dishes.plan import ESTIMATED_BY, dish_plan
from testbed.scenario.model import Link, Scenario
from traces.trace import Contact, Trace
from traces.utc import format_utc


@dataclass(frozen=True)
class PlannedLink:
    """A link between a satellite and a station, or between two satellites.

    Args:
        name: name of the link.
        trace: what it will follow: with the faults of the scenario, and while a dish serves it.
    """

    name: str
    trace: Trace

    @property
    def contacts(self) -> list[Contact]:
        """The contacts in which both directions are up."""
        return self.trace.contacts("both")

    @property
    def contact_s(self) -> float:
        """The time in contact."""
        return sum(contact.duration_s for contact in self.contacts)

    @property
    def carried_bytes(self) -> float:
        """What the downlink can carry."""
        return carried_bytes([self.trace], 0.0)

    def to_json(self) -> dict[str, Any]:
        """Return the link's figures and each of its contacts."""
        start = self.trace.header.start_utc
        return {
            "link": self.name,
            "contact_s": self.contact_s,
            "carried_bytes": self.carried_bytes,
            "contacts": [
                {
                    "aos_s": contact.aos_s,
                    "los_s": contact.los_s,
                    "aos_utc": format_utc(start + timedelta(seconds=round(contact.aos_s, 3))),
                    "carried_bytes": carried_bytes([self.trace.cut(contact.aos_s, contact.los_s)], 0.0),
                }
                for contact in self.contacts
            ],
        }


@dataclass(frozen=True)
class Plan:
    """The plan of a scenario.

    Args:
        scenario: the scenario.
        links: the links of its satellites.
        loads: the images of each satellite against what its links carry.
        tracks: ground tracks of the links that follow an orbit.
        note: what makes the figures an estimate, if something does.
    """

    scenario: Scenario
    links: tuple[PlannedLink, ...]
    loads: tuple[SatelliteLoad, ...]
    tracks: tuple[Track, ...]
    note: str | None = None

    @property
    def end_s(self) -> float:
        """When the last trace ends."""
        return max(link.trace.end_s for link in self.links)

    def to_json(self) -> dict[str, Any]:
        """Return all figures; times are seconds of scenario time."""
        return {
            "scenario": self.scenario.name,
            "start_utc": format_utc(self.links[0].trace.header.start_utc),
            "length_s": self.end_s,
            "note": self.note,
            "satellites": [
                {
                    "satellite": load.satellite,
                    "images": load.images,
                    "offered_bytes": load.offered_bytes,
                    "carried_bytes": load.carried_bytes,
                    "load": load.load,
                    "backlog_most_bytes": load.backlog.most_bytes,
                    "backlog_most_at_s": load.backlog.most_at_s,
                    "backlog_left_bytes": load.backlog.left_bytes,
                    "backlog_empty_s": load.backlog.empty_s,
                }
                for load in self.loads
            ],
            "links": [link.to_json() for link in self.links],
        }


def plan_of(scenario: Scenario) -> Plan:
    """Compute the plan of a scenario. Needs neither root nor models.

    The backlog is that of satellites that send every image whole. Satellites that relay over the same link
    are planned as if each had it alone.

    Raises:
        ScenarioError: a file is missing, a trace cannot be made, or no link has a contact.
    """
    scenario.check_files()
    traces = link_traces(scenario)
    dishes = dish_plan(scenario, traces)
    served = played_traces(scenario, traces if dishes is None else dishes.traces)
    tracks = [
        link_track(scenario, link, served[link.name]) for link in scenario.sky_links if isinstance(link, Link)
    ]
    return Plan(
        scenario=scenario,
        links=tuple(PlannedLink(link.name, served[link.name]) for link in scenario.sky_links),
        loads=tuple(satellite_loads(scenario, served)),
        tracks=tuple(track for track in tracks if track is not None),
        note=f"the run decides who gets a dish; planned with {ESTIMATED_BY}"
        if dishes is not None and dishes.live
        else None,
    )
