"""Starts the user's programs and containers on the nodes of a run, limits them, and sees how they end."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from nodes.contract.events import ProgramChanged, QueueReported
from nodes.contract.topics import slug
from testbed.errors import CapabilityError
from testbed.machine.control_group import ControlGroup, hierarchy
from testbed.mqtt.management import ManagementPlane
from testbed.network.clock import Clock
from testbed.network.emulation import EmulatedNetwork
from testbed.network.programs import Process, Program, exit_code, in_network_of, spawn
from testbed.run.own_folders import image_folder
from testbed.run.parts.steps import Steps
from testbed.run.plan import RunPlan
from testbed.run.programs.containers import STATE, check_command, check_containers, container_command
from testbed.run.programs.images import Image, unpacked
from testbed.run.programs.state import VARIABLE, NodeState, StateServer
from testbed.scenario.model import GroundNode, Satellite, Scenario
from testbed.scenario.programs import Container, NodeProgram
from traces.trace import Trace

Node: TypeAlias = Satellite | GroundNode
NODE_VARIABLE = "SPACEVERSE_NODE"  # environment of a program: name of its node


def check_programs(scenario: Scenario) -> None:
    """Check that this machine can limit the programs of a scenario, and run its containers.

    Raises:
        CapabilityError: it has no control groups for them, or nothing that runs containers.
        ScenarioError: the image of a container does not exist.
    """
    check_containers(scenario)
    for node in scenario.nodes:
        for program in node.programs:
            try:
                if program.cores is not None:
                    hierarchy("cpu")
                if program.memory_bytes is not None:
                    hierarchy("memory")
            except CapabilityError as error:
                raise CapabilityError(f"{node.name}: program {program.name}: {error}") from None


class UserPrograms:
    """The programs of all nodes of a run.

    Args:
        plan: the run's plan.
        traces: the trace of each link.
        report: receives how each one ends.
    """

    def __init__(
        self, plan: RunPlan, traces: dict[str, Trace], report: Callable[[ProgramChanged], None]
    ) -> None:
        self._plan, self._traces, self._report = plan, traces, report
        self._running: dict[Program, str] = {}  # with the name of its node
        self._start_on: Callable[[Node], None] = lambda node: None
        self._images: dict[Path, Image] = {}

    def prepare(self, stack: ExitStack, steps: Steps) -> None:
        """Unpack the images of containers, which are removed with `stack`.

        Raises:
            InputError: one is damaged, or names no command.
        """
        programs = [program for node in self._plan.scenario.nodes for program in node.programs]
        containers = [program for program in programs if isinstance(program, Container)]
        if not containers:
            return
        steps.begin("unpacking images of containers")
        folder = stack.enter_context(image_folder())
        for number, path in enumerate(dict.fromkeys(container.image for container in containers)):
            self._images[path] = unpacked(path, folder / str(number), steps.check_stop)
        for container in containers:
            check_command(container, self._images[container.image])

    def start(self, stack: ExitStack, network: EmulatedNetwork, clock: Clock, plane: ManagementPlane) -> None:
        """Start them; they end with `stack`.

        Raises:
            CapabilityError: one has limits, and this machine has no control groups for them.
        """
        for node in self._plan.scenario.nodes:
            if not node.programs:
                continue
            socket = self._plan.state_socket(node.name)
            links = {
                link: self._traces[link.name]
                for link in self._plan.scenario.network_links
                if node.name in link.ends
            }
            queue = partial(_last_queue, plane, node.name)
            stack.enter_context(StateServer(socket, NodeState(node.name, links, clock, queue)))
        self._start_on = partial(self._start_all, stack, network)
        for node in self._plan.scenario.nodes:
            self._start_on(node)

    def lose(self, node: str) -> None:
        """End those of a node at once, as its loss of power does."""
        for program in [program for program, its_node in self._running.items() if its_node == node]:
            del self._running[program]
            program.kill()

    def resume(self, node: str) -> None:
        """Start those of a node again."""
        self._start_on(next(one for one in self._plan.scenario.nodes if one.name == node))

    def look(self) -> None:
        """Report those that have ended; to be called often."""
        for program in list(self._running):
            if (code := exit_code(program.process)) is None:
                continue
            del self._running[program]
            program.stop()  # what it left in its session
            if code == 0:
                event = ProgramChanged(program=program.name, state="finished")
            else:
                reason = f"it {program.ending()}"
                event = ProgramChanged(program=program.name, state="given up", reason=reason)
            self._report(event)

    def _ask_to_stop(self) -> None:
        for program in self._running:
            program.ask_to_stop()

    def _start_all(self, stack: ExitStack, network: EmulatedNetwork, node: Node) -> None:
        for program in node.programs:
            self._start(stack, network, node.name, program)
        stack.callback(self._ask_to_stop)  # all of them, before the first is waited for

    def _start(
        self, stack: ExitStack, network: EmulatedNetwork, node: str, its: NodeProgram | Container
    ) -> None:
        socket = self._plan.state_socket(node)
        group = ControlGroup(cores=its.cores, memory_bytes=its.memory_bytes)
        stack.callback(group.close)
        if isinstance(its, Container):
            environment = dict(os.environ)
            own = {VARIABLE: STATE, NODE_VARIABLE: node}
            folder = self._plan.container_folder(node, its.name)
            command: Sequence[str] = container_command(its, self._images[its.image], folder, socket, own)
        else:
            environment = {**os.environ, VARIABLE: str(socket), NODE_VARIABLE: node}
            command = its.command
        # Joined first: in the node, /sys shows no control groups.
        command = group.entered_by([*in_network_of(network.hosts[node].pid), *command])

        def start(command: Sequence[str], log: BinaryIO) -> Process:
            streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
            return spawn(command, env=environment, **streams)

        name = f"{its.name} at {node}"
        program = Program(name, command, log=self._plan.log_path(f"{node}-{slug(its.name)}"), start=start)
        stack.callback(program.stop)
        self._running[program] = node


def _last_queue(plane: ManagementPlane, node: str) -> dict[str, Any] | None:
    """Return the last report of a node's queue."""
    for record in reversed(plane.events):
        if record.node == node and isinstance(record.event, QueueReported):
            event = record.event
            return {
                "at_s": record.time_s,
                "items": event.items,
                "size_bytes": event.size_bytes,
                "best_value": event.best_value,
                "deadline_s": event.deadline_s,
            }
    return None
