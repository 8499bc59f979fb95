"""Shorter and cheaper runs of long scenarios: few frames, part of each pass, answers that are computed once.

A new test of a topology needs some 5 s of a core by this:

    scenario = with_kept_answers(shortened(load_scenario(path), 20, 16))
"""

from __future__ import annotations

from datetime import timedelta

from testbed import GroundStation, MissionControl, Orbit, Recorded, Satellite, Scenario, Sight
from tests.support.kept_models import answers_folder, profile_file

MANY = 5  # satellites, for whose frames the models need longer than the part of the pass


def shortened(scenario: Scenario, skipped_s: float, length_s: float) -> Scenario:
    """The scenario with four frames a satellite, captured at once, then its tasks, and part of each pass."""
    frames = 4 if len(scenario.satellites) < MANY else 1

    def part(orbit: object) -> Orbit | Sight | Recorded:
        if isinstance(orbit, Recorded):
            return orbit.model_copy(update={"begin_s": skipped_s, "length_s": length_s})
        assert isinstance(orbit, Orbit | Sight)
        start = orbit.start + timedelta(seconds=skipped_s)
        return orbit.model_copy(update={"start": start, "length_s": length_s})

    satellites = tuple(
        satellite.model_copy(
            update={
                "frames": tuple(
                    frame.model_copy(update={"capture_s": 0.5 + number})
                    for number, frame in enumerate(satellite.frames[:frames])
                )
            }
        )
        for satellite in scenario.satellites
    )
    links = tuple(link.model_copy(update={"follows": part(link.follows)}) for link in scenario.links)
    crosslinks = tuple(
        link.model_copy(update={"follows": part(link.follows)}) for link in scenario.crosslinks
    )
    tasks = tuple(task.model_copy(update={"at_s": 4.0}) for task in scenario.tasks)
    return scenario.model_copy(
        update={"satellites": satellites, "links": links, "crosslinks": crosslinks, "tasks": tasks}
    )


def with_kept_answers(scenario: Scenario) -> Scenario:
    """The scenario with the answers that any run of this test session computed, at a made-up machine's pace.

    An answer that none has computed yet is computed, by the models that all runs share.
    """

    def paced(node: Satellite | GroundStation | MissionControl) -> Satellite | GroundStation | MissionControl:
        return node.model_copy(update={"profile": profile_file()}) if node.model else node

    control = scenario.mission_control
    return scenario.model_copy(
        update={
            "satellites": tuple(map(paced, scenario.satellites)),
            "stations": tuple(map(paced, scenario.stations)),
            "mission_control": None if control is None else paced(control),
            "answers": answers_folder(),
        }
    )
