"""The boards of one run: their attachment, assignment and supervision, and their records for the results."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nodes.contract.events import BoardChanged
from nodes.contract.files import is_policy_file
from nodes.contract.report import Report
from nodes.contract.topics import slug
from testbed.boards.agent_access import AGENT_PORT, agent_password, board_authority, own_address
from testbed.boards.agents import BoardAgents, FileStore
from testbed.boards.attachment import Attachment
from testbed.boards.inventory import Board, place, read_inventory
from testbed.boards.link import BoardLink, ground_endpoint
from testbed.errors import TestbedError
from testbed.mqtt.accounts import Account, board_account
from testbed.mqtt.broker import TcpListener
from testbed.mqtt.certificates import Authority
from testbed.network.link_state import OnContactEnd
from testbed.network.sky import Sky
from testbed.results.absence import Absence
from testbed.results.nodes.board import BoardRecord
from testbed.run.clock.skipping import NodeState
from testbed.run.plan import RunPlan
from testbed.scenario.model import Link, Scenario

REGISTERED_WITHIN_S = 30.0  # an agent, also a restarted one, tries to connect every second
WELL = ("idle", "fetching", "running")


def boards_of(scenario: Scenario) -> dict[str, Board]:
    """Return the board of each satellite that is one; without any, no inventory is read.

    Raises:
        InputError: the inventory is wrong, lacks a board, or lacks the address of its link.
    """
    names = {s.name: s.board for s in scenario.satellites if s.board is not None}
    if not names:
        return {}
    inventory = read_inventory(scenario.boards)
    boards = {satellite: inventory.board(name) for satellite, name in names.items()}
    for board in boards.values():
        board.link_addresses()
    return boards


@dataclass
class RunBoards:
    """The attached boards of a run; without any, all methods do nothing.

    Args:
        plan: Plan of the run.
        report: Reports an event of the run itself.
        links: The links to boards, by name of the link.
    """

    plan: RunPlan
    report: Report
    links: dict[str, BoardLink] = field(default_factory=dict)
    _attachments: dict[str, Attachment] = field(default_factory=dict)
    _agents: BoardAgents | None = None
    _told: dict[str, str] = field(default_factory=dict)
    _absences: dict[str, list[Absence]] = field(default_factory=dict)
    _gone_since_s: dict[str, float] = field(default_factory=dict)

    def attach(self, stack: ExitStack) -> None:
        """Attach every board.

        Raises:
            BoardRefusedError: a board cannot be attached; nothing was changed for it.
        """
        for satellite, board in self.plan.boards.items():
            ground = ground_endpoint(board.link_addresses()[1])
            self._attachments[satellite] = stack.enter_context(Attachment(board, ground))

    def has(self, link: Link) -> bool:
        """Whether a link leads to a board."""
        return link.satellite in self.plan.boards

    def add_link(self, stack: ExitStack, link: Link, sky: Sky, host_path: str) -> BoardLink:
        """Add the link of a board to the sky, and measure the path to the board."""
        made = BoardLink(
            self._attachments[link.satellite],
            sky,
            link.name,
            host_path=host_path,
            interface=self.plan.interface(link),
            board_address=self.plan.address(link, ground=False),
            on_contact_end=OnContactEnd(link.on_contact_end),
        )
        stack.callback(made.close)
        self.links[link.name] = made
        return made

    def listeners(self) -> list[TcpListener]:
        """Return the management broker's listeners for boards: this machine's source address for each.

        They use TLS with a certificate of the authority that the boards' agents know.
        """
        addresses = sorted({own_address(board) for board in self.plan.boards.values()})
        if not addresses:
            return []
        # Not in the run's folder: its key is a secret of this machine, not of the run's owner. Stations'
        # slugs, which name sockets in the same folder, have no capital letters.
        authority = Authority(self.plan.sockets / "TLS", board_authority())
        certificate = authority.issue("management", addresses)
        return [TcpListener(address, AGENT_PORT, certificate) for address in addresses]

    def accounts(self) -> list[Account]:
        """Return the accounts of the agents at the management broker."""
        boards = self.plan.boards.values()
        return [board_account(board.name, agent_password(board.name)) for board in boards]

    def assign(self, stack: ExitStack) -> None:
        """Assign its satellite to each board, and offer the files that it needs."""
        if not self.plan.boards:
            return
        run = self.plan.folder.path.name
        self._agents = BoardAgents(self.plan.management_socket, run, self.plan.run_account)
        stack.callback(self._agents.close)
        for satellite, board in self.plan.boards.items():
            config = offered(self.plan.board_config(satellite), self._agents.files)
            access = self.plan.node_accounts[satellite].to_json()
            self._agents.assign(slug(board.name), "satellite", config, access)
            self._gone_since_s[satellite] = time.monotonic()

    def look(self, scenario_s: float | None) -> None:
        """Record the reports of the agents.

        Args:
            scenario_s: Scenario time; None before the start, when a missing board is an error.

        Raises:
            TestbedError: a board failed or is missing before the start; with the reason of its agent.
        """
        for satellite, board in self.plan.boards.items():
            assert self._agents is not None  # noqa: S101  # `assign` came before
            report = self._agents.state(slug(board.name))
            state, reason = str(report["state"]), str(report.get("reason") or "its agent does not respond")
            if self._told.get(satellite) != state:
                self._told[satellite] = state
                self._gone_since_s[satellite] = time.monotonic()
                told_reason = None if report.get("reason") is None else str(report["reason"])
                self.report(BoardChanged(board=board.name, state=state, reason=told_reason))
            if scenario_s is None:
                self._refuse(board, state, reason, time.monotonic() - self._gone_since_s[satellite])
            else:
                self._note_absence(satellite, state, reason, scenario_s)

    def states(self) -> dict[str, NodeState]:
        """Return the state of each board's program, by satellite."""
        words: dict[str, NodeState] = {"running": "works", "failed": "off", "ended": "off"}
        return {satellite: words.get(self._told.get(satellite, ""), "away") for satellite in self.plan.boards}

    def _note_absence(self, satellite: str, state: str, reason: str, scenario_s: float) -> None:
        absences = self._absences.setdefault(satellite, [])
        away = bool(absences) and absences[-1].until_s is None
        if state not in WELL and not away:
            absences.append(Absence(scenario_s, reason))
        elif state == "running" and away:
            absences[-1] = replace(absences[-1], until_s=scenario_s)

    def _refuse(self, board: Board, state: str, reason: str, gone_s: float) -> None:
        """Raise TestbedError if a board cannot take part; a lost agent has some time to be restarted."""
        if state in ("failed", "ended"):
            raise TestbedError(f"board {board.name}: {reason}")
        if state == "gone" and gone_s > REGISTERED_WITHIN_S:
            raise TestbedError(
                f"board {board.name}: its agent did not connect to {own_address(board)}, port {AGENT_PORT}, "
                f"within {REGISTERED_WITHIN_S:.0f} s; start it on the board: python -m nodes.agent CONFIG, "
                f"where CONFIG is the output of `spaceverse board agent-config {board.name}` on this machine "
                "(and of this version: older ones have no authority); the agent's own output has the reason"
            )

    def records(self) -> tuple[BoardRecord, ...]:
        """Return the records of all boards."""
        records = []
        for link in self.plan.scenario.links:
            if self.has(link):
                board = self.plan.boards[link.satellite]
                report = self._agents.state(slug(board.name)) if self._agents is not None else {}
                records.append(
                    BoardRecord(
                        board=board.name,
                        satellite=link.satellite,
                        place=place(board.attach),
                        path=self.links[link.name].path,
                        facts=report.get("facts") or {},
                        absences=tuple(self._absences.get(link.satellite, ())),
                    )
                )
        return tuple(records)


def offered(config: dict[str, Any], files: FileStore) -> dict[str, Any]:
    """Return a node's configuration in which references for the agent replace the files of this machine."""
    frames = [{**frame, "image": files.add(Path(frame["image"]))} for frame in config["frames"]]
    stations = [
        {**s, "ca_file": files.add(Path(s["ca_file"]))} if "ca_file" in s else s for s in config["stations"]
    ]
    replaced = {**config, "frames": frames, "stations": stations}
    for name in ("profile", "policy_parameters"):
        if isinstance(config.get(name), str):
            replaced[name] = files.add(Path(config[name]))
    policy = config.get("policy")
    if isinstance(policy, str) and is_policy_file(policy):  # taken by boards whose owner allows code only
        replaced["policy"] = {Path(policy).name: files.add(Path(policy))}
    if config["confidence"] is not None:
        network = sorted(path for path in Path(config["confidence"]).iterdir() if path.is_file())
        replaced["confidence"] = {path.name: files.add(path) for path in network}
    return replaced
