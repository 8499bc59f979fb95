"""Main loop of the agent: accepts assignments, fetches files, starts, watches and stops the node."""

from __future__ import annotations

import json
import queue
import signal
import threading
import time
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from nodes.board.assignment import check_code, node_config, read_assignment
from nodes.board.child import Child
from nodes.board.facts import facts
from nodes.board.files import Fetcher, FileError
from nodes.board.mailbox import Mailbox
from nodes.contract.board import GIVEN_UP, AgentConfig, Assignment, RestartRule
from nodes.contract.config import ConfigError
from nodes.contract.events import AgentAssigned, NodeEnded, NodeStarted, NodeStopped
from nodes.contract.files import write_atomically
from nodes.contract.topics import slug
from nodes.runtime.management import ManagementPlane

TICK_S = 0.1
FINAL_STATUSES = (0, 2)  # stopped as requested; unusable configuration or model


@dataclass
class _Job:
    """A run that the board takes part in."""

    payload: bytes
    assignment: Assignment
    fetcher: Fetcher
    plane: ManagementPlane
    child: Child | None = None
    rule: RestartRule = field(default_factory=RestartRule)
    start_s: float = float("-inf")  # not before, CLOCK_MONOTONIC


class Service:
    """One agent. Call `run` in the main thread: the node is killed when this thread ends."""

    def __init__(self, config: AgentConfig) -> None:
        self._config = config
        self._mailbox = Mailbox(config.management, config.board)
        self._job: _Job | None = None
        self._done: bytes | None = None  # an assignment that has ended by itself; it is not started again
        self._ending = threading.Event()

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT, and return the exit status.

        Raises:
            OSError: the agent's folder cannot be created.
        """
        self._config.folder.mkdir(parents=True, exist_ok=True)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        self._facts = facts(self._config.folder, self._config.models)
        self._tell("idle", None)
        self._mailbox.open()
        try:
            while not self._ending.is_set():
                self._mailbox.changed.wait(TICK_S)
                self._mailbox.changed.clear()
                self._step()
        finally:
            self._leave("the agent was stopped")
            self._mailbox.close()
        return 0

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._ending.set()
        self._mailbox.changed.set()

    def _step(self) -> None:
        payload = self._mailbox.assignment
        if self._job is not None:
            if payload is not None and payload != self._job.payload:  # None: a new broker without messages
                self._leave("the run requested it")
            elif self._mailbox.silent_s(self._job.assignment.run) > self._job.assignment.heartbeat_lapse_s:
                lapse_s = self._job.assignment.heartbeat_lapse_s
                self._leave(f"no heartbeat of the run for {lapse_s:g} s")
            else:
                self._go_on(self._job)
        elif payload and payload != self._done:
            self._begin(payload)

    def _begin(self, payload: bytes) -> None:
        """Accept an assignment if its run is alive."""
        try:
            assignment = read_assignment(payload)
            check_code(assignment, self._config)  # before anything is fetched
        except ConfigError as error:
            self._done = payload
            self._tell("failed", None, str(error))
            return
        if self._mailbox.silent_s(assignment.run) > assignment.heartbeat_lapse_s:
            return
        self._done = None
        while not self._mailbox.pieces.empty():
            self._mailbox.pieces.get()
        fetcher = Fetcher(self._config.folder / "files", assignment.files, self._mailbox.request)
        address, board = self._config.management, self._config.board
        plane = ManagementPlane(address, board, clock="own", run=assignment.run)
        plane.open()
        self._job = _Job(payload, assignment, fetcher, plane)
        plane.report(AgentAssigned(role=assignment.role, **self._facts))
        self._tell("fetching", assignment.run)

    def _go_on(self, job: _Job) -> None:
        try:
            if job.child is None:
                if time.monotonic() < job.start_s:
                    return
                self._fetch(job)
                if job.fetcher.complete:
                    self._start(job)
            elif (status := job.child.status()) is not None:
                self._died(job, status, job.child.last_line())
        except (ConfigError, FileError, OSError) as error:
            self._ended(job, None, str(error))

    def _fetch(self, job: _Job) -> None:
        while True:
            try:
                piece = self._mailbox.pieces.get_nowait()
            except queue.Empty:
                break
            job.fetcher.take(piece.digest, piece.offset, piece.data)
        job.fetcher.step()

    def _start(self, job: _Job) -> None:
        name = slug(str(job.assignment.config.get("name", "node")))
        folder = self._config.folder / "runs" / job.assignment.run / name
        folder.mkdir(parents=True, exist_ok=True)
        config = node_config(job.assignment, self._config, folder, job.fetcher.paths)
        path = folder / "config.json"
        write_atomically(path, json.dumps(config, indent=2) + "\n", private=True)
        job.child = Child(job.assignment.role, path, folder / "log")
        job.plane.report(NodeStarted(pid=job.child.pid, role=job.assignment.role))
        self._tell("running", job.assignment.run)

    def _died(self, job: _Job, status: int, reason: str) -> None:
        """Start the node of a job again, unless it has ended as it should, cannot run, or dies too often."""
        pause_s = None if status in FINAL_STATUSES else job.rule.pause_s(time.monotonic())
        if pause_s is None:
            self._ended(job, status, reason if status in FINAL_STATUSES else f"{reason}; {GIVEN_UP}")
            return
        job.child, job.start_s = None, time.monotonic() + pause_s
        job.plane.report(NodeEnded(status=status, reason=reason))
        self._tell("restarting", job.assignment.run, reason)  # to the run, an absence

    def _ended(self, job: _Job, status: int | None, reason: str) -> None:
        """Finish a job whose node has ended by itself or could not be started."""
        self._done = job.payload
        job.plane.report(NodeEnded(status=status, reason=reason))
        job.plane.close()
        self._job = None
        self._tell("ended" if status == 0 else "failed", job.assignment.run, reason)

    def _leave(self, reason: str) -> None:
        """Stop the node, if there is one."""
        job, self._job = self._job, None
        if job is None:
            return
        status = job.child.stop() if job.child is not None else None
        job.plane.report(NodeStopped(status=status, reason=reason))
        job.plane.close()
        self._tell("idle", None, reason)

    def _tell(self, state: str, run: str | None, reason: str | None = None) -> None:
        about: dict[str, Any] = {"state": state, "run": run, "reason": reason, "facts": self._facts}
        self._mailbox.tell(about)
