"""Satellite's end of the uplink: tasks in, replies out, and what is to be done."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from nodes.contract.events import TaskDone, TaskRefused
from nodes.contract.messages import Order
from nodes.contract.report import Report, ScenarioTime
from nodes.transfer.inbox import Claim, Inbox, InboxItem, complete_items
from nodes.transfer.messages import Kind, Upward
from nodes.transfer.receiver import Receiver
from nodes.transfer.uplink.events import TaskReport

SWEEP_S = 2.0
TASKS: tuple[Kind, ...] = ("task",)
Outcome = Literal["done", "later"]


class RefusedTaskError(Exception):
    """A task that cannot be carried out; the text is the reason."""


class TaskInbox(threading.Thread):
    """Thread that carries out the tasks of a satellite, each once.

    `receive` and `replies` belong to the thread of the downlink.

    Args:
        folder: folder of the received tasks, of this satellite alone.
        satellite: slug of the satellite.
        carry_out: called in this thread with each task that was received and not done; also after a restart.
            It returns "done" once the effect is on disk, or "later", and is then asked again. It raises
            RefusedTaskError.
        report: receives task_received, task_done and task_refused.
        scenario_s: returns the scenario time, or None before it is known.

    Attributes:
        on_activity: called whenever there is something to do, or nothing any more.
    """

    def __init__(
        self,
        folder: Path,
        satellite: str,
        *,
        carry_out: Callable[[Order], Outcome],
        report: Report,
        scenario_s: ScenarioTime,
    ) -> None:
        super().__init__(name="tasks", daemon=True)
        self._folder, self._satellite = folder, satellite
        self._carry_out = carry_out
        self._report = report
        told = TaskReport(report)
        self._inbox = Inbox(folder, report=told)
        self._receiver = Receiver(self._inbox, told, self._complete, scenario_s, kinds=TASKS)
        self._lock = threading.Lock()
        self._waiting = 1  # a look at what an earlier process has left
        self._items: queue.SimpleQueue[InboxItem | None] = queue.SimpleQueue()
        self._claims: dict[str, tuple[Claim, Order]] = {}
        self._stopping = threading.Event()
        self.on_activity: Callable[[], None] = lambda: None
        self.failure: BaseException | None = None

    def received(self) -> list[Order]:
        """Return all tasks on disk, whether done or not, by number."""
        orders = [_read(path.read_bytes()) for _, path in complete_items(self._folder)]
        return sorted((order for order in orders if order is not None), key=lambda order: order.number)

    def receive(self, payload: bytes) -> None:
        """Store what the ground sent."""
        self._receiver.handle(self._satellite, payload, time.monotonic())
        self._receiver.refusals.tell()

    def replies(self) -> list[Upward]:
        """Return the replies to what was received."""
        return [reply for _, reply in self._receiver.replies()]

    def due_s(self) -> float:
        """Return when there is something to do; see `Idleness.watch`."""
        return -math.inf if self._waiting else math.inf

    def settled(self, name: str) -> None:
        """Note that a task that was to be done later may be done now; from any thread."""
        self._count(1)
        self._items.put(None)

    def stop(self) -> None:
        """Ask the thread to end."""
        self._stopping.set()
        self._items.put(None)

    def run(self) -> None:
        """Serve until `stop`; store an unexpected error in `failure`."""
        try:
            for item in self._inbox.unanswered():
                self._take(item)
            self._count(-1)
            while not self._stopping.is_set():
                self._serve_one()
        except Exception as error:
            self.failure = error

    def _serve_one(self) -> None:
        try:
            item = self._items.get(timeout=SWEEP_S)
        except queue.Empty:
            self._try_again()
            return
        if item is not None:
            self._take(item)
        else:
            self._try_again()
        self._count(-1)

    def _complete(self, item: InboxItem) -> None:
        self._count(1)
        self._items.put(item)

    def _count(self, more: int) -> None:
        with self._lock:
            self._waiting = max(0, self._waiting + more)
        self.on_activity()

    def _take(self, item: InboxItem) -> None:
        name = item.manifest.frame
        claim = None if name in self._claims else item.claim()
        if claim is None:
            return
        order = _read(item.data_path.read_bytes())
        if order is None or order.satellite != self._satellite or order.task.name != name:
            self._report(TaskRefused(task=name, reason="it is no task for this satellite"))
            claim.answered()
            return
        self._claims[name] = claim, order
        self._try(name)

    def _try_again(self) -> None:
        for name in list(self._claims):
            self._try(name)

    def _try(self, name: str) -> None:
        claim, order = self._claims[name]
        try:
            if self._carry_out(order) == "later":
                return
            self._report(TaskDone(task=name))
        except RefusedTaskError as error:
            self._report(TaskRefused(task=name, reason=str(error)))
        claim.answered()
        del self._claims[name]


def _read(body: bytes) -> Order | None:
    try:
        return Order.model_validate_json(body)
    except ValueError:
        return None
