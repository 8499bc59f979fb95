"""Plan of a run before any of it exists: names, addresses, configurations, commands.

It is pure data and can be read and tested without root.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from nodes.contract import config as contract
from nodes.contract.config import LONGEST_NAME, ModelRun, PolicyChoice
from nodes.contract.events import RUN
from nodes.contract.files import write_atomically
from nodes.contract.power.sunlight import Sunlight
from nodes.contract.topics import slug
from testbed.boards.inventory import Board
from testbed.errors import ScenarioError
from testbed.mqtt.accounts import (
    Account,
    ground_account,
    node_account,
    run_account,
    satellite_account,
)
from testbed.mqtt.admission import Admission
from testbed.run.folder import RunFolder
from testbed.run.model_relay import server_of
from testbed.run.routed.routing import Routing, routing_of
from testbed.run.traces import played_traces
from testbed.scenario.model import AnyLink, GroundNode, Link, Satellite, Scenario
from testbed.scenario.sunlight import sunlights
from testbed.scenario.tasks import task_name
from traces.trace import Trace
from traces.trace_file import write_trace

MQTT_PORT = 1883
FIRST_PROBE_PORT = 40_000
KEPT_MODELS = "SPACEVERSE_MODELS"  # environment: the socket of a `python -m nodes.vlm.shared` that is kept
MANAGEMENT, MODELS, DRAWINGS = "management", "models", "drawings"  # names of a run's own programs
RATE_WITHOUT_CONTACT_BIT_S = 1e6  # no chunk is sent
# Imported once for all programs of a run: the programs, and what they import when they need it.
FORKED = (
    "nodes.satellite",
    "nodes.ground",
    "nodes.check",
    "nodes.vlm.shared.remote",
    "testbed.measure.probe",
)


@dataclass(frozen=True)
class RunPlan:
    """Names, addresses, files and commands of one run.

    Args:
        scenario: what is run.
        traces: the trace of each link, by the link's name.
        folder: where its files go.
        sockets: a folder with a short path, for Unix sockets.
        boards: the board of each satellite that is one.
        queue_every_s: how often satellites report their queues; None: never.
        foreseen: the traces that operators know of, without faults; None: `traces`.
    """

    scenario: Scenario
    traces: Mapping[str, Trace]
    folder: RunFolder
    sockets: Path
    boards: Mapping[str, Board] = field(default_factory=dict)
    queue_every_s: float | None = None
    foreseen: Mapping[str, Trace] | None = None

    def __post_init__(self) -> None:
        """Check that no two parts of the run have the same name or files. Raises ScenarioError."""
        owners: dict[Path, str] = {}
        for path, owner in self._places():
            other = owners.setdefault(path, owner)
            if other != owner:
                raise ScenarioError(f"{owner} and {other} would share {path.name}: give one another name")
        for name in (*self.node_names, *(board.name for board in self.boards.values())):
            if len(slug(name)) > LONGEST_NAME:  # ligatures become several letters
                raise ScenarioError(f"{name!r} has more than {LONGEST_NAME} letters: give it a shorter name")
            if slug(name) == RUN:
                raise ScenarioError(f"{name!r} is the name of the run itself: give the node another name")

    def _places(self) -> Iterator[tuple[Path, str]]:
        """Yield the paths that are made of names, each with what it is of."""
        yield from self._own_places()
        for satellite in self.scenario.satellites:
            yield self.log_path(satellite.name), f"satellite {satellite.name!r}"
            yield self.model_socket(satellite.name), f"the model of satellite {satellite.name!r}"
            if self.scenario.mission_control is not None:
                yield self.way_probe_log_path(satellite.name), f"the way of satellite {satellite.name!r}"
        for station in (s.name for s in self.scenario.receivers):
            yield self.log_path(station), f"station {station!r}"
            yield self.log_path(self.broker_name(station)), f"the broker of station {station!r}"
            yield self.broker_socket(station), f"the broker of station {station!r}"
            yield self.model_socket(station), f"the model of station {station!r}"
        for node in self.scenario.nodes:
            for program in node.programs:
                yield self.log_path(f"{node.name}-{slug(program.name)}"), f"{program.name} at {node.name!r}"
        for link in self.scenario.network_links:
            for path in (self.trace_path(link), self.compensated_trace_path(link), self.probe_log_path(link)):
                yield path, f"link {link.name!r}"

    def _own_places(self) -> Iterator[tuple[Path, str]]:
        yield self.management_socket, "the run's management broker"
        yield self.log_path(MANAGEMENT), "the run's management broker"
        yield self.sockets / MODELS, "the process of the models"
        yield self.log_path(MODELS), "the process of the models"
        yield self.log_path(DRAWINGS), "what draws the received images"

    @cached_property
    def routing(self) -> Routing | None:
        """The routes to mission control; None without one."""
        return routing_of(self.scenario, self.foreseen or self.traces)

    @cached_property
    def network_traces(self) -> dict[str, Trace]:
        """The trace of every link, by its name."""
        earth_traces = self.routing.earth_traces if self.routing is not None else {}
        return {**self.traces, **played_traces(self.scenario, earth_traces)}

    @cached_property
    def event_nodes(self) -> list[str]:
        """The slug of everything that sends events: nodes and the agents of boards."""
        return [slug(name) for name in (*self.node_names, *(board.name for board in self.boards.values()))]

    @cached_property
    def run_account(self) -> Account:
        """The run's own account on the management plane."""
        return run_account(self.event_nodes)

    @cached_property
    def node_accounts(self) -> dict[str, Account]:
        """Each node's account on the management plane."""
        return {name: node_account(slug(name)) for name in self.node_names}

    @property
    def management_accounts(self) -> list[Account]:
        """Accounts at the management broker."""
        return [self.run_account, *self.node_accounts.values()]

    @cached_property
    def satellite_accounts(self) -> dict[tuple[str, str], Account]:
        """Each satellite's account at each of its receivers: (satellite, receiver)."""
        return {
            (satellite.name, receiver): satellite_account(slug(satellite.name))
            for satellite in self.scenario.satellites
            for receiver in self.scenario.receivers_of(satellite.name)
        }

    @cached_property
    def ground_accounts(self) -> dict[str, Account]:
        """Each ground program's account at its own broker."""
        return {g.name: ground_account(slug(g.name)) for g in self.scenario.receivers}

    def admission(self) -> Admission:
        """Return the rules for events of nodes."""
        return Admission(
            {s.name: self._asked_of(s) for s in self.scenario.satellites},
            self.satellite_accounts,
            (board.name for board in self.boards.values()),
        )

    def _asked_of(self, satellite: Satellite) -> set[str]:
        """Return the names of a satellite's frames and tasks."""
        tasks = enumerate(self.scenario.tasks, start=1)
        named = {task_name(number, task) for number, task in tasks if task.satellite == satellite.name}
        return {frame.frame for frame in satellite.frames} | named

    def broker_accounts(self, station: str) -> list[Account]:
        """Return the accounts at a receiver's broker."""
        own = [account for (_, at), account in self.satellite_accounts.items() if at == station]
        return [self.ground_accounts[station], *own]

    def broker_addresses(self, station: str) -> list[str]:
        """Return the addresses at which satellites reach a receiver's broker."""
        if self.routing is not None and station == self.routing.control:
            return [self.routing.addresses[station]]
        links = [link for link in self.scenario.links if link.station == station]
        return [self.address(link, ground=True) for link in links]

    @property
    def certificates(self) -> Path:
        """Folder of the authority and of the stations' certificates, where the scenario asks for TLS."""
        return self.folder.path / "tls"

    @property
    def inbox(self) -> Path:
        """Inbox of all stations: an interrupted transfer resumes at the next one."""
        return self.folder.path / "inbox"

    @property
    def node_names(self) -> list[str]:
        """Every node with a program: the satellites, and who receives from them."""
        return [*(s.name for s in self.scenario.satellites), *(g.name for g in self.scenario.receivers)]

    @property
    def host_names(self) -> list[str]:
        """Every node that is not a board, also stations that only forward."""
        nodes: list[Satellite | GroundNode] = [*self.scenario.satellites, *self.scenario.ground_nodes]
        return [node.name for node in nodes if node.name not in self.boards]

    @property
    def emulated_names(self) -> list[str]:
        """Every node that is not a board: its program runs on this machine."""
        return [name for name in self.node_names if name not in self.boards]

    @property
    def management_socket(self) -> Path:
        """Unix socket of the management broker."""
        return self.sockets / MANAGEMENT

    def broker_name(self, station: str) -> str:
        """Return the name of a station's broker, of which its files are made."""
        return f"{slug(station)}-broker"

    def broker_socket(self, station: str) -> Path:
        """Unix socket of a ground station's broker, for its own program."""
        return self.sockets / slug(station)

    def model_socket(self, node: str) -> Path:
        """Unix socket that leads a node's program to its model, where that is behind a server."""
        return self.sockets / f"{slug(node)}-model"

    @property
    def models_socket(self) -> Path:
        """Unix socket of the process that holds the models of the emulated nodes."""
        kept = os.environ.get(KEPT_MODELS)
        return Path(kept).absolute() if kept else self.sockets / MODELS

    @property
    def models_command(self) -> list[str] | None:
        """The command of that process; None if no node needs it, or if the user keeps one."""
        local = [n for n in self.node_names if n not in self.boards and server_of(self.model_of(n)) is None]
        if not local or os.environ.get(KEPT_MODELS):
            return None
        return [sys.executable, "-m", "nodes.vlm.shared", "--socket", str(self.models_socket)]

    def model_of(self, node: str) -> str:
        """Return the name or folder of a node's model."""
        nodes: list[Satellite | GroundNode] = [*self.scenario.satellites, *self.scenario.receivers]
        return next(one.model for one in nodes if one.name == node)

    def interface(self, link: AnyLink) -> str:
        """Name of the link's interface, the same in both hosts."""
        return f"link{self._number(link)}"

    def capture_path(self, link: AnyLink, *, ground: bool) -> Path:
        """Capture of one end of a link."""
        return self.folder.captures / slug(link.name) / f"{slug(link.ends[ground])}.pcap"

    def address(self, link: AnyLink, *, ground: bool) -> str:
        """IPv4 address of one end; of 10.0.0.0/8, which is seen inside the hosts' namespaces only.

        Of a link to a board, as its inventory says.
        """
        if link.ends[0] in self.boards:
            return self.boards[link.ends[0]].link_addresses()[1 if ground else 0]
        number = self._number(link)
        return f"10.{number // 256}.{number % 256}.{2 if ground else 1}"

    def _number(self, link: AnyLink) -> int:
        return self._numbers[link.name]

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {link.name: number for number, link in enumerate(self.scenario.network_links)}

    def trace_path(self, link: AnyLink) -> Path:
        """Return the path of a link's trace."""
        return self.folder.traces / f"{slug(link.name)}.csv"

    def compensated_trace_path(self, link: AnyLink) -> Path:
        """Return the path of the trace played on a board's link: less the delay of the board's own path."""
        return self.folder.traces / f"{slug(link.name)}-compensated.csv"

    def config_path(self, node: str) -> Path:
        """Return the path of a node's configuration."""
        return self.folder.nodes / slug(node) / "config.json"

    def log_path(self, name: str) -> Path:
        """Return the path of a program's output."""
        return self.folder.logs / f"{slug(name)}.log"

    def probe_log_path(self, link: AnyLink) -> Path:
        """Return the path of the output of a link's probes."""
        return self.log_path(f"{link.name} probe")

    def probe_path(self, link: AnyLink, *, ground: bool) -> Path:
        """Return the path of the measurements of one end of a link's probe."""
        return self.folder.logs / f"{slug(link.name)}-probe-{'ground' if ground else 'satellite'}.jsonl"

    def node_command(self, node: str) -> list[str]:
        """Return the command of a node's program."""
        is_satellite = node in {s.name for s in self.scenario.satellites}
        program = "nodes.satellite" if is_satellite else "nodes.ground"
        return [sys.executable, "-m", program, "--config", str(self.config_path(node))]

    def state_socket(self, node: str) -> Path:
        """Return the path of the socket at which a node's programs ask for its state."""
        return self.sockets / f"{slug(node)}.state"

    def container_folder(self, node: str, container: str) -> Path:
        """Return the folder of what the runtime of a container needs."""
        return self.sockets / f"{slug(node)}-{slug(container)}.container"

    @property
    def check_command(self) -> list[str]:
        """The command that checks the configurations of all emulated nodes."""
        command = [sys.executable, "-m", "nodes.check"]
        for kind, nodes in (("satellite", self.scenario.satellites), ("ground", self.scenario.receivers)):
            if paths := [str(self.config_path(node.name)) for node in nodes if node.name not in self.boards]:
                command += [f"--{kind}", *paths]
        return command

    def drawing_command(self) -> list[str]:
        """Return the command that draws what was received of frames."""
        return [sys.executable, "-m", "nodes.draw_received", str(self.inbox), str(self.folder.kept)]

    def way_probe_log_path(self, satellite: str) -> Path:
        """Return the path of the output of the probes of a satellite's way to mission control."""
        return self.log_path(f"{satellite} way probe")

    def way_probe_path(self, satellite: str, *, ground: bool) -> Path:
        """Return the path of the measurements of one end of such a probe."""
        return self.folder.logs / f"{slug(satellite)}-way-probe-{'ground' if ground else 'satellite'}.jsonl"

    def way_probe_command(self, satellite: str, *, ground: bool) -> list[str]:
        """Return the command of one end of the probe of a satellite's way to mission control."""
        assert self.routing is not None  # noqa: S101  # else there is no such way
        number = list(self.routing.paths).index(satellite) + len(self._numbers)
        command = self._probe_command(
            self.routing.paths[satellite],
            self.routing.addresses[satellite if ground else self.routing.control],
            self.way_probe_path(satellite, ground=ground),
            number,
            ground=ground,
        )
        return [*command, "--no-trains"]  # several ways share a link

    def probe_command(self, link: AnyLink, *, ground: bool) -> list[str]:
        """Return the command of one end of a probe; the satellite's end measures round trips."""
        command = self._probe_command(
            self.traces[link.name],
            self.address(link, ground=not ground),
            self.probe_path(link, ground=ground),
            self._number(link),
            ground=ground,
        )
        return command if ground else [*command, "--interface", self.interface(link)]

    def _probe_command(
        self, trace: Trace, peer: str, output: Path, number: int, *, ground: bool
    ) -> list[str]:
        best = max(trace.rows(), key=lambda row: row.down_bit_s)
        rate_bit_s, speed = best.up_bit_s if ground else best.down_bit_s, self.scenario.speed
        command = [sys.executable, "-m", "testbed.measure.probe", "--peer", peer]
        command += ["--rate", str(rate_bit_s * speed)]
        if speed != 1:
            command += ["--speed", str(speed)]
        command += ["--output", str(output)]
        command += ["--port", str(FIRST_PROBE_PORT + number)]  # hosts may have several links
        return command if ground else [*command, "--asks"]

    def echo_probe_command(self, link: Link, mac: str) -> list[str]:
        """Return the command of a board link's probe, at the ground's end; the board's kernel replies."""
        command = [sys.executable, "-m", "testbed.boards.echo_probe", "--interface", self.interface(link)]
        command += ["--own", self.address(link, ground=True), "--peer", self.address(link, ground=False)]
        return [*command, "--peer-mac", mac, "--output", str(self.probe_path(link, ground=False))]

    def write_inputs(self) -> None:
        """Write scenario, traces and every node's configuration."""
        for link in self.scenario.network_links:
            write_trace(self.network_traces[link.name], self.trace_path(link))
        for node, config in self.node_configs().items():
            if node not in self.boards:
                self.config_path(node).parent.mkdir()
                self._write(node, config)

    def write_config(self, node: str, changes: Mapping[str, Any]) -> None:
        """Write a node's configuration again, with changes, for its next start."""
        self._write(node, self.node_configs()[node] | dict(changes))

    def _write(self, node: str, config: Mapping[str, Any]) -> None:
        write_atomically(self.config_path(node), json.dumps(config, indent=2) + "\n", private=True)

    def node_configs(self) -> dict[str, dict[str, Any]]:
        """Return each program's configuration, as `nodes.contract.config` reads it."""
        satellites = {s.name: self._satellite_config(s) for s in self.scenario.satellites}
        return satellites | {g.name: self._ground_config(g) for g in self.scenario.receivers}

    def _satellite_config(self, satellite: Satellite) -> dict[str, Any]:
        receiving = self.scenario.receivers_of(satellite.name)
        links = [
            link
            for link in self.scenario.links
            if link.satellite == satellite.name and link.station in receiving
        ]
        stations = [self._station_config(link) for link in links]
        traces = [(self.foreseen or self.traces)[link.name] for link in links]
        if self.routing is not None and satellite.name in self.routing.paths:
            stations.append(self._control_config(satellite.name, self.routing))
            traces.append(self.routing.paths[satellite.name])
        rows = [row for trace in traces for row in trace.rows()]
        return self._node_config(satellite) | {
            "stations": stations,
            **satellite.model_dump(mode="json", include=set(PolicyChoice.model_fields)),
            "frames": [
                f.model_dump(mode="json", include=set(contract.Frame.model_fields)) for f in satellite.frames
            ],
            "outbox": str(self.config_path(satellite.name).parent / "outbox"),
            "queue_every_s": self.queue_every_s,
            **self._tasks_config(satellite),
            **self._power_config(satellite),
            # The median, not the peak: chunks are sized in time, and at a low elevation the rate is low.
            "rate_bit_s": statistics.median(
                [row.down_bit_s for row in rows if row.both_up] or [RATE_WITHOUT_CONTACT_BIT_S]
            ),
        }

    @cached_property
    def sunlights(self) -> dict[str, Sunlight]:
        """What the solar panels give, by the names of the satellites with a power system."""
        return sunlights(self.scenario, self.traces)

    def _power_config(self, satellite: Satellite) -> dict[str, Any]:
        if satellite.power is None:
            return {}
        return {
            "power": satellite.power.model_dump(mode="json"),
            "sunlight": self.sunlights[satellite.name].model_dump(mode="json"),
        }

    def _tasks_config(self, satellite: Satellite) -> dict[str, Any]:
        if all(task.satellite != satellite.name for task in self.scenario.tasks):
            return {}
        return {
            "tasks": str(self.config_path(satellite.name).parent / "tasks"),
            "frames_kept_bytes": satellite.frames_kept_bytes,
        }

    def board_config(self, satellite: str) -> dict[str, Any]:
        """Return the part of a satellite's configuration that its board receives; its agent adds the rest."""
        config = self._satellite_config(self.scenario.satellite(satellite))
        return {
            key: value
            for key, value in config.items()
            if key not in ("management", "outbox", "shared_models", "model_socket", "answer_memory")
        }

    def _station_config(self, link: Link) -> dict[str, Any]:
        station = {
            "name": link.station,
            "host": self.address(link, ground=True),
            "port": MQTT_PORT,
            # A board's own interface keeps its carrier when the contact ends.
            **({"told": True} if link.satellite in self.boards else {"interface": self.interface(link)}),
            "access": self.satellite_accounts[link.satellite, link.station].to_json(),
            # What an operator knows beforehand. A policy may spend a contact by it.
            "plan": _link_plan((self.foreseen or self.traces)[link.name]),
        }
        return station | self._authority_config()

    def _control_config(self, satellite: str, routing: Routing) -> dict[str, Any]:
        return {
            "name": routing.control,
            "host": routing.addresses[routing.control],
            "port": MQTT_PORT,
            "routed": True,
            "access": self.satellite_accounts[satellite, routing.control].to_json(),
            "plan": _link_plan(routing.paths[satellite]),
        } | self._authority_config()

    def _authority_config(self) -> dict[str, Any]:
        return {"ca_file": str(self.certificates / "ca.pem")} if self.scenario.tls else {}

    def _ground_config(self, ground: GroundNode) -> dict[str, Any]:
        return self._node_config(ground) | {
            "broker": {
                "unix_socket": str(self.broker_socket(ground.name)),
                "access": self.ground_accounts[ground.name].to_json(),
            },
            "inbox": str(self.inbox),
            "patience_s": ground.patience_s,
            "uplink": str(self.config_path(ground.name).parent / "uplink") if self.scenario.tasks else None,
        }

    def _node_config(self, node: Satellite | GroundNode) -> dict[str, Any]:
        return {
            "name": node.name,
            "management": {
                "unix_socket": str(self.management_socket),
                "access": self.node_accounts[node.name].to_json(),
            },
            "shared_models": str(self.models_socket),
            "model_socket": str(self.model_socket(node.name)) if server_of(node.model) else None,
            "answer_memory": None if self.scenario.answers is None else str(self.scenario.answers),
            **node.model_dump(mode="json", include=set(ModelRun.model_fields), exclude_none=True),
        }


def _link_plan(trace: Trace) -> dict[str, Any]:
    # A transfer needs replies, so that no capacity is planned with while only one direction is up.
    rows = [
        {"time_s": row.time_s, "up": row.up, "down_bit_s": row.down_bit_s if row.both_up else 0.0}
        for row in trace.rows()
    ]
    return {"rows": rows, "end_s": trace.end_s}
