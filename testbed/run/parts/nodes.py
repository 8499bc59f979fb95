"""The programs of a run's nodes: checked, started, waited for, and stopped."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from nodes.contract.events import Ready
from testbed.errors import ScenarioError, TestbedError
from testbed.forks.forks import LOOKS_EVERY_S, Forks
from testbed.mqtt.management import ManagementPlane
from testbed.network.emulation import EmulatedNetwork
from testbed.network.programs import Program, end_session
from testbed.run.boards import RunBoards
from testbed.run.clock.skipping import NodeState
from testbed.run.model_relay import ModelRelay, server_of
from testbed.run.parts.reports import RunReports
from testbed.run.parts.steps import Steps
from testbed.run.plan import MODELS, RunPlan
from testbed.run.supervision import SupervisedNode

READY_WITHIN_S = 180.0  # time for a 7 B model from a slow disk
MODELS_SHOWN = "the process of the models"


class RunNodes:
    """The nodes' programs.

    Args:
        plan: the run's plan.
        boards: its boards, whose programs their agents start.
        reports: receives what happens to the programs.
        steps: leads the run.

    Attributes:
        supervised: the programs on this machine, by the node's name.
    """

    def __init__(self, plan: RunPlan, boards: RunBoards, reports: RunReports, steps: Steps) -> None:
        self._plan, self._boards, self._reports, self._steps = plan, boards, reports, steps
        self.supervised: dict[str, SupervisedNode] = {}

    def check(self, forks: Forks) -> None:
        """Let the programs check their configurations: only they know models and policies.

        Raises:
            ScenarioError: one is wrong.
        """
        self._steps.begin("checking configurations and models")
        names = self._plan.emulated_names
        if not names:
            return
        command = self._plan.check_command
        said = os.memfd_create("check")  # on no disk, which may be full
        with os.fdopen(said, encoding="utf-8", errors="replace") as text:
            process = forks.start(command[2], command[3:], said)
            try:
                while process.poll() is None:
                    self._steps.check_stop()
                    time.sleep(LOOKS_EVERY_S)
            finally:
                end_session(process)
            text.seek(0)
            lines = text.read().splitlines()
        answers = [json.loads(line) for line in lines if line.startswith("{")]
        found = {one["config"]: one["fault"] for one in answers}
        unchecked = next((line for line in reversed(lines) if line and line[0] != "{"), "no message")
        for name in names:
            if (fault := found.get(str(self._plan.config_path(name)), unchecked)) is not None:
                raise ScenarioError(f"{name}: {fault}")

    def start(
        self, stack: ExitStack, network: EmulatedNetwork, plane: ManagementPlane, wait: Callable[[], None]
    ) -> None:
        """Start all programs, which end with `stack`, and wait until they are ready.

        Args:
            stack: of the run.
            network: the hosts.
            plane: hears that a program is ready.
            wait: waits for one tick of the run.

        Raises:
            TestbedError: a program is not ready in time.
        """
        self._steps.begin("starting the nodes' programs and loading models")
        plan, report = self._plan, self._reports.report_now
        for node in plan.emulated_names:
            if server := server_of(plan.model_of(node)):
                stack.enter_context(ModelRelay(plan.model_socket(node), *server))
        self._boards.assign(stack)
        stack.callback(self._stop, network)
        if command := plan.models_command:
            start = partial(self._models_program, command)
            self.supervised[MODELS] = SupervisedNode(MODELS_SHOWN, start, report, says_ready=False)
        for name in plan.emulated_names:
            self._steps.check_stop()
            self.supervised[name] = SupervisedNode(name, partial(self._program, network, name), report)
        waiting = set(plan.node_names)
        deadline_s = time.monotonic() + READY_WITHIN_S
        while waiting:
            wait()
            waiting -= {record.node for record in plane.seen(Ready)}
            if time.monotonic() > deadline_s:
                raise TestbedError(
                    f"nodes not ready after {READY_WITHIN_S:.0f} s: {', '.join(sorted(waiting))}"
                )

    def states(self) -> dict[str, NodeState]:
        """Return the state of each node's program."""
        emulated = {name: self.supervised[name].state for name in self._plan.emulated_names}
        return emulated | self._boards.states()

    def all_lost(self) -> str | None:
        """Return why no further frame can be answered, if no satellite or no station is left."""
        scenario = self._plan.scenario
        for kind, nodes in (("satellite", scenario.satellites), ("station", scenario.receivers)):
            names = [node.name for node in nodes]
            found = (self.supervised.get(name) for name in names)
            lost = [node for node in found if node is not None and node.given_up is not None]
            if len(lost) == len(names):
                return f"no {kind} is left: " + "; ".join(f"{node.name}: {node.given_up}" for node in lost)
        return None

    def _program(self, network: EmulatedNetwork, node: str) -> Program:
        """Start a node's program in its host."""
        return network.start_program(node, node, self._plan.node_command(node), self._plan.log_path(node))

    def _models_program(self, command: list[str]) -> Program:
        """Start the process that holds the models."""
        self._plan.models_socket.unlink(missing_ok=True)  # of one that was killed
        return Program(MODELS, command, log=self._plan.log_path(MODELS))

    def _stop(self, network: EmulatedNetwork) -> None:
        programs: list[Program | SupervisedNode] = [*network.probes, *self.supervised.values()]
        for program in programs:
            program.ask_to_stop()
        for program in programs:
            program.stop()
