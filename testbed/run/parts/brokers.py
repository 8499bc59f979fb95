"""The MQTT brokers of a run: that of the management plane, and one for each station."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial

from nodes.contract.topics import slug
from testbed.mqtt.broker import Broker, BrokerError, TcpListener, UnixListener
from testbed.mqtt.broker_watch import BrokerWatch
from testbed.mqtt.certificates import Authority
from testbed.mqtt.management import ManagementPlane
from testbed.network.emulation import EmulatedNetwork
from testbed.network.programs import spawn
from testbed.run.boards import RunBoards
from testbed.run.parts.live import RunLive
from testbed.run.parts.steps import Steps
from testbed.run.plan import MANAGEMENT, MQTT_PORT, RunPlan
from testbed.run.supervision import SupervisedNode


class RunBrokers:
    """Starts the brokers, and restarts those that die.

    Args:
        plan: the run's plan.
        boards: boards that connect to the management plane.
        live: the live page, which does, too.
        steps: leads the run.

    Attributes:
        watches: of all brokers, the management plane's first.
    """

    def __init__(self, plan: RunPlan, boards: RunBoards, live: RunLive, steps: Steps) -> None:
        self._plan, self._boards, self._live, self._steps = plan, boards, live, steps
        self._authority: Authority | None = None
        self._of_stations: dict[str, BrokerWatch] = {}
        self.watches: list[BrokerWatch] = []

    def make_authority(self) -> None:
        """Make the authority of the stations' certificates, if the scenario wants TLS."""
        if self._plan.scenario.tls:
            self._authority = Authority(self._plan.certificates)

    def start(self, stack: ExitStack, network: EmulatedNetwork) -> ManagementPlane:
        """Start all brokers and the management plane; they end with `stack`."""
        plan = self._plan
        self._steps.begin("starting brokers")
        socket = plan.management_socket
        brokers = [
            Broker(
                plan.folder.logs,
                [UnixListener(socket), *self._boards.listeners(), *self._live.listeners()],
                name=MANAGEMENT,
                popen=spawn,
                accounts=[*plan.management_accounts, *self._boards.accounts(), *self._live.accounts()],
            ),
            *(self._station_broker(ground.name, network) for ground in plan.scenario.receivers),
        ]
        for broker in brokers:
            self._steps.check_stop()
            stack.enter_context(broker)
        plane = ManagementPlane(
            socket,
            plan.folder.events,
            plan.run_account,
            run=plan.folder.path.name,
            admission=plan.admission(),
            nodes=plan.event_nodes,
            shown=self._live.is_wanted,
        )
        stack.callback(plane.close)
        management, *stations = [BrokerWatch(broker, plane.report) for broker in brokers]
        self.watches = [management, *stations]
        names = (ground.name for ground in plan.scenario.receivers)
        self._of_stations = dict(zip(names, stations, strict=True))
        return plane

    def look(self, nodes: Mapping[str, SupervisedNode], *, started: bool) -> None:
        """Restart brokers that died. A station whose broker cannot be kept is lost, and the others go on.

        Args:
            nodes: the programs of the nodes.
            started: whether the run has started; before that, such a broker is an error.
        """
        for watch in self.watches:
            if watch not in self._of_stations.values():
                watch.look()
        for station, watch in self._of_stations.items():
            if station in nodes and nodes[station].given_up is not None:
                continue
            try:
                watch.look()
            except BrokerError as error:
                if not started:
                    raise
                nodes[station].lose(str(error))

    def look_last(self) -> None:
        """Note what the brokers refused until the end."""
        for watch in self.watches:
            watch.look(last=True)

    def _station_broker(self, station: str, network: EmulatedNetwork) -> Broker:
        addresses = self._plan.broker_addresses(station)
        tls = self._authority.issue(slug(station), addresses) if self._authority is not None else None
        return Broker(
            self._plan.folder.logs,
            [
                *(TcpListener(address, MQTT_PORT, tls) for address in addresses),
                UnixListener(self._plan.broker_socket(station)),
            ],
            name=self._plan.broker_name(station),
            popen=partial(spawn, netns_pid=network.hosts[station].pid),
            accounts=self._plan.broker_accounts(station),
        )
