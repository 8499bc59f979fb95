"""Refusal of scenarios in which a node's computing time is not that of a profile, where it has to be.

In the hosts of an accelerated run, TCP repeats lost packets sooner.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from testbed.errors import ScenarioError
from testbed.run.model_relay import SERVED
from testbed.scenario.model import GroundNode, Satellite, Scenario

if TYPE_CHECKING:
    from testbed.network.hosts import EmulatedHost  # Mininet is slow to import

RTO_MIN_S = 0.2  # of Linux
RTO_AT_LEAST_S = 0.01
RTO_FILE = "/proc/sys/net/ipv4/tcp_rto_min_us"  # of each network namespace, since Linux 6.11


def hasten_tcp(hosts: Iterable[EmulatedHost], speed: float) -> None:
    """Let TCP in the hosts repeat lost packets as much sooner, down to 10 ms; no effect on older kernels."""
    if speed == 1:
        return
    shortest_us = round(max(RTO_MIN_S / speed, RTO_AT_LEAST_S) * 1e6)
    for host in hosts:
        host.run(["sh", "-c", f"test ! -e {RTO_FILE} || echo {shortest_us} > {RTO_FILE}"])


def check_speed(scenario: Scenario) -> None:
    """Check that every node can keep scenario time at the scenario's speed, and with kept answers.

    Raises:
        ScenarioError: A node's computing time is not that of a profile.
    """
    nodes: list[Satellite | GroundNode] = [*scenario.satellites, *scenario.receivers]
    for node in nodes:
        reason = _reason(node)
        if reason is not None and scenario.speed != 1:
            raise ScenarioError(f"speed {scenario.speed:g}: {node.name} {reason}, or run at speed 1")
        if scenario.answers is not None and node.profile is None and not node.model.startswith(SERVED):
            raise ScenarioError(f"answers: {node.name} {reason}, or omit answers")


def _reason(node: Satellite | GroundNode) -> str | None:
    """Return why a node's time cannot be accelerated, and what to do."""
    if isinstance(node, Satellite) and node.board is not None:
        return f"is the board {node.board}, which computes in real time; emulate it with its profile"
    if node.model.startswith(SERVED):
        return "has a model behind a server, which answers in real time; use a local model with a profile"
    if node.profile is None:
        return "has no profile, so that its answers take real time; measure one (python -m nodes.profile)"
    return None
