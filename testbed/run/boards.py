"""The boards of one run: attached, told who they are, watched, and what is known of them in the end."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nodes.contract.topics import slug
from testbed.boards.agent_access import AGENT_PORT, agent_password, own_address
from testbed.boards.agents import BoardAgents, FileStore
from testbed.boards.attachment import Attachment
from testbed.boards.inventory import Board, place, read_inventory
from testbed.boards.link import BoardLink, ground_endpoint
from testbed.errors import TestbedError
from testbed.mqtt.accounts import Account, board_account
from testbed.mqtt.broker import TcpListener
from testbed.network.link_state import OnContactEnd
from testbed.network.sky import Sky
from testbed.results.board_record import Absence, BoardRecord
from testbed.run.plan import RunPlan
from testbed.scenario.model import Link, Scenario

REGISTERED_WITHIN_S = 30.0  # an agent tries again every second, also one that was started again
WELL = ("idle", "fetching", "running")


def boards_of(scenario: Scenario) -> dict[str, Board]:
    """The board of each satellite that is one. Raises InputError; reads no inventory where there is none."""
    wanted = {s.name: s.board for s in scenario.satellites if s.board is not None}
    if not wanted:
        return {}
    inventory = read_inventory(scenario.boards)
    found = {satellite: inventory.board(name) for satellite, name in wanted.items()}
    for board in found.values():
        board.link_addresses()
    return found


@dataclass
class RunBoards:
    """Attached boards; without any, everything here does nothing.

    Args:
        plan: of the run.
        record: adds an event to the run's.
    """

    plan: RunPlan
    record: Callable[[dict[str, Any]], None]
    links: dict[str, BoardLink] = field(default_factory=dict)
    _attachments: dict[str, Attachment] = field(default_factory=dict)
    _agents: BoardAgents | None = None
    _told: dict[str, str] = field(default_factory=dict)
    _absences: dict[str, list[Absence]] = field(default_factory=dict)
    _gone_since_s: dict[str, float] = field(default_factory=dict)

    def attach(self, stack: ExitStack) -> None:
        """Attach every board. Raises BoardRefusedError before anything of a refused one is touched."""
        for satellite, board in self.plan.boards.items():
            ground = ground_endpoint(board.link_addresses()[1])
            self._attachments[satellite] = stack.enter_context(Attachment(board, ground))

    def has(self, link: Link) -> bool:
        """Whether a link leads to a board."""
        return link.satellite in self.plan.boards

    def add_link(self, stack: ExitStack, link: Link, sky: Sky, host_path: str) -> BoardLink:
        """Plug a link's board into the sky, and measure its own way."""
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
        """Where the management broker listens for boards: at this machine's address on the way to each."""
        addresses = {own_address(board) for board in self.plan.boards.values()}
        return [TcpListener(address, AGENT_PORT) for address in sorted(addresses)]

    def accounts(self) -> list[Account]:
        """The agents' accounts at the management broker."""
        boards = self.plan.boards.values()
        return [board_account(board.name, agent_password(board.name)) for board in boards]

    def assign(self, stack: ExitStack) -> None:
        """Tell each board's agent which satellite it is, and offer the files that it needs for that."""
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
        """Note what the agents tell.

        Args:
            scenario_s: scenario time; None before the start, when a board that does not come is an error.

        Raises TestbedError: that board's, in its agent's own words.
        """
        for satellite, board in self.plan.boards.items():
            assert self._agents is not None  # noqa: S101  # `assign` came before
            said = self._agents.state(slug(board.name))
            state, reason = str(said["state"]), str(said.get("reason") or "its agent is not heard any more")
            if self._told.get(satellite) != state:
                self._told[satellite] = state
                self._gone_since_s[satellite] = time.monotonic()
                event = {"event": "board", "node": "run", "board": board.name, "state": state}
                self.record({**event, "reason": said.get("reason"), "monotonic_s": time.monotonic()})
            if scenario_s is None:
                self._refuse(board, state, reason, time.monotonic() - self._gone_since_s[satellite])
            else:
                self._note_absence(satellite, state, reason, scenario_s)

    def _note_absence(self, satellite: str, state: str, reason: str, scenario_s: float) -> None:
        absences = self._absences.setdefault(satellite, [])
        away = bool(absences) and absences[-1].until_s is None
        if state not in WELL and not away:
            absences.append(Absence(scenario_s, reason))
        elif state == "running" and away:
            absences[-1] = replace(absences[-1], until_s=scenario_s)

    def _refuse(self, board: Board, state: str, reason: str, gone_s: float) -> None:
        """Raise TestbedError if a board will not come; a lost agent is given time to be started again."""
        if state in ("failed", "ended"):
            raise TestbedError(f"board {board.name}: {reason}")
        if state == "gone" and gone_s > REGISTERED_WITHIN_S:
            raise TestbedError(
                f"board {board.name}: its agent has not come to {own_address(board)}, port {AGENT_PORT}, "
                f"within {REGISTERED_WITHIN_S:.0f} s; start it there: python -m nodes.agent CONFIG, with "
                f"what `spaceverse board agent-config {board.name}` prints here in CONFIG"
            )

    def records(self) -> tuple[BoardRecord, ...]:
        """What is known of each board."""
        found = []
        for link in self.plan.scenario.links:
            if self.has(link):
                board = self.plan.boards[link.satellite]
                said = self._agents.state(slug(board.name)) if self._agents is not None else {}
                found.append(
                    BoardRecord(
                        board=board.name,
                        satellite=link.satellite,
                        place=place(board.attach),
                        path=self.links[link.name].path,
                        facts=said.get("facts") or {},
                        absences=tuple(self._absences.get(link.satellite, ())),
                    )
                )
        return tuple(found)


def offered(config: dict[str, Any], files: FileStore) -> dict[str, Any]:
    """The configuration with every file of this machine replaced by what the agent fetches it by."""
    frames = [{**frame, "image": files.add(Path(frame["image"]))} for frame in config["frames"]]
    stations = [
        {**s, "ca_file": files.add(Path(s["ca_file"]))} if "ca_file" in s else s for s in config["stations"]
    ]
    found = {**config, "frames": frames, "stations": stations}
    for name in ("profile", "policy_parameters"):
        if isinstance(config.get(name), str):
            found[name] = files.add(Path(config[name]))
    if config["confidence"] is not None:
        network = sorted(path for path in Path(config["confidence"]).iterdir() if path.is_file())
        found["confidence"] = {path.name: files.add(path) for path in network}
    return found
