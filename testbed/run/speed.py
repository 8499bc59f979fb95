"""Refusal of scenarios that cannot be run faster than real time."""

from __future__ import annotations

from testbed.errors import ScenarioError
from testbed.run.model_relay import SERVED
from testbed.scenario.model import GroundStation, Satellite, Scenario


def check_speed(scenario: Scenario) -> None:
    """Check that every node can keep scenario time at the scenario's speed. Raises ScenarioError."""
    if scenario.speed == 1:
        return
    nodes: list[Satellite | GroundStation] = [*scenario.satellites, *scenario.stations]
    for node in nodes:
        if (reason := _reason(node)) is not None:
            raise ScenarioError(f"speed {scenario.speed:g}: {node.name} {reason}, or run at speed 1")


def _reason(node: Satellite | GroundStation) -> str | None:
    """Return why a node's time cannot be accelerated, and what to do."""
    if isinstance(node, Satellite) and node.board is not None:
        return f"is the board {node.board}, which computes in real time; emulate it with its profile"
    if node.model.startswith(SERVED):
        return "has a model behind a server, which answers in real time; use a local model with a profile"
    if node.profile is None:
        return "has no profile, so that its answers take real time; measure one (python -m nodes.profile)"
    return None
