"""The live page of a run: its server, its access to the management broker, and the state that it shows."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from typing import Any, Literal

from nodes.contract.messages import RunState
from testbed.live.description import Flight
from testbed.live.facts import run_facts
from testbed.live.measured import Samples, measuring
from testbed.live.server import LOOPBACK, PageServer, cannot_listen
from testbed.mqtt.accounts import Account, page_account
from testbed.mqtt.broker import TcpListener
from testbed.mqtt.management import ManagementPlane
from testbed.run.parts.reports import RunReports
from testbed.run.parts.steps import Steps
from testbed.run.plan import RunPlan
from testbed.run.traces import orbits_of, places_of

STATE_EVERY_S = 1.0


@dataclass(frozen=True)
class LivePage:
    """Where a run offers its live page.

    Args:
        host: address to listen at, of loopback by default.
        port: TCP port of the page; the broker's WebSockets get the next one. 0: any two free ones.
    """

    host: str = LOOPBACK
    port: int = 0

    def check(self) -> None:
        """Check that this machine can listen there now.

        Raises:
            InputError: the address is not this machine's, or a port is in use.
        """
        for port in (self.port, self.port + 1) if self.port else (0,):
            _free_port(self.host, port)


class RunLive:
    """Offers the live page of a run; without one wanted, all methods do nothing.

    Args:
        wanted: where; None for no page.
        plan: the run's plan.
        reports: the run's clock.
        steps: leads the run, and can be asked to stop.
    """

    def __init__(self, wanted: LivePage | None, plan: RunPlan, reports: RunReports, steps: Steps) -> None:
        self._wanted, self._plan, self._reports, self._steps = wanted, plan, reports, steps
        self._account = page_account()
        self._broker_port = 0
        self._plane: ManagementPlane | None = None
        self._shown_s = 0.0

    @property
    def is_wanted(self) -> bool:
        """Whether there is a page."""
        return self._wanted is not None

    def listeners(self) -> list[TcpListener]:
        """Return the management broker's listener for the page: MQTT over WebSockets."""
        if self._wanted is None:
            return []
        host, port = self._wanted.host, self._wanted.port
        self._broker_port = port + 1 if port else _free_port(host)
        return [TcpListener(host, self._broker_port, websockets=True)]

    def accounts(self) -> list[Account]:
        """Return the page's account at the management broker, which only reads."""
        return [] if self._wanted is None else [self._account]

    def start(self, stack: ExitStack, plane: ManagementPlane) -> None:
        """Serve the page until `stack` ends, and tell its address."""
        if self._wanted is None:
            return
        plan, sessions = self._plan, cycle(self._account.usernames)

        def access(_: str) -> Mapping[str, Any]:
            return {"port": self._broker_port, "username": next(sessions), "password": self._account.password}

        flight = Flight(plan.network_traces, orbits_of(plan.scenario), places_of(plan.scenario))
        facts = run_facts(plan.scenario, flight, lambda: plan.folder.events, plan.folder.kept)
        server = PageServer(
            {**facts, "broker": access, "measured": self._measured},
            partial(self._steps.stop.ask, "the live page"),
            host=self._wanted.host,
            port=self._wanted.port,
            broker_port=self._broker_port,
        )
        stack.enter_context(server)
        self._plane = plane
        stack.callback(self._show, "ended")
        self._steps.progress.step(f"live page: {server.url}")

    def _measured(self, name: str) -> Samples | None:
        """Return what the probes have measured of a link; None for one that has none, or before the start."""
        link = next((link for link in self._plan.scenario.sky_links if link.name == name), None)
        if link is None or not self._reports.started:
            return None
        satellite, ground = (self._plan.probe_path(link, ground=ground) for ground in (False, True))
        return measuring(satellite, ground, self._reports.clock.scale)

    def look(self) -> None:
        """Tell the page once a second how far the run is; to be called often."""
        if self._plane is not None and time.monotonic() >= self._shown_s + STATE_EVERY_S:
            self._show("running" if self._reports.started else "preparing")

    def _show(self, phase: Literal["preparing", "running", "ended"]) -> None:
        if self._plane is None:
            return
        self._shown_s = time.monotonic()
        started = self._reports.started
        speed = self._reports.clock.speed if started else self._plan.scenario.speed
        self._plane.show(RunState(phase=phase, time_s=self._reports.now_s, speed=speed))


def _free_port(host: str, port: int = 0) -> int:
    """Return `port`, or for 0 one that is free now.

    Raises:
        InputError: the address is not this machine's, or the port is in use.
    """
    try:
        with socket.create_server((host, port)) as probe:
            found: int = probe.getsockname()[1]
            return found
    except (OSError, OverflowError) as error:
        raise cannot_listen(host, port, error) from error
