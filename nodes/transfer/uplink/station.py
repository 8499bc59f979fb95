"""Ground end of the uplink: keeps tasks on disk until their satellites have them."""

from __future__ import annotations

import base64
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path

from nodes.contract import topics
from nodes.contract.events import TaskQueued, TaskRefused
from nodes.contract.files import network_sha256, read_network
from nodes.contract.messages import NetworkTask, Order
from nodes.contract.report import Report, ScenarioClock
from nodes.transfer.flow_control import Window, chunk_size_bytes
from nodes.transfer.messages import Again, Hello, MalformedError, decode_upward, encode
from nodes.transfer.outbox import Outbox, OutboxError
from nodes.transfer.repeats.requests import Requests
from nodes.transfer.sender import Sender
from nodes.transfer.senders.refusals import Refusals
from nodes.transfer.uplink.events import TaskReport

LOOK_S = 0.2
ROUND_TRIP_S = 0.1  # at first
SILENCES_MAX = 1  # more of them mean that the satellite is gone; until then the run cannot jump
REPLIES_MAX = 1000  # that wait; of a flood the oldest are lost, and asked for again
STORE_AGAIN_S = 1.0
Publish = Callable[[str, bytes], object]


class _Lane:
    """The tasks of one satellite."""

    def __init__(self, folder: Path, satellite: str, rate_bit_s: float, report: Report) -> None:
        self.outbox = Outbox(folder, satellite, chunk_size_bytes(rate_bit_s), report=report)
        self.window = Window(rate_bit_s)
        self.sender = Sender(self.outbox, self.window, report)
        self.requests = Requests(self.outbox)
        self.connected = False

    @property
    def busy(self) -> bool:
        return self.connected and self.outbox.count > 0


class TaskUplink(threading.Thread):
    """Thread that sends tasks to the satellites that are connected to a station.

    Args:
        folder: folder of the tasks, of this ground program alone.
        rate_bit_s: planning rate of the uplinks, bits in a second of scenario time.
        publish: sends (topic, payload) to the station's broker; from any thread.
        report: receives task_queued, task_sent and task_refused.
        clock: scenario time.

    Attributes:
        on_activity: called whenever there is something to do, or nothing any more.
    """

    def __init__(
        self, folder: Path, rate_bit_s: float, *, publish: Publish, report: Report, clock: ScenarioClock
    ) -> None:
        super().__init__(name="uplink", daemon=True)
        self._folder, self._rate_bit_s = folder, rate_bit_s
        self._publish, self._clock = publish, clock
        self._report = report
        self._task_report = TaskReport(report)
        self._lanes: dict[str, _Lane] = {}
        self._orders: dict[tuple[str, str], Order] = {}  # to be stored, by satellite and name
        self._seen: set[tuple[str, str]] = set()
        self._heard: deque[tuple[str, bytes]] = deque(maxlen=REPLIES_MAX)
        self._news = threading.Condition()
        self._stopping = False
        self._store_at_s = 0.0
        self._refusals = Refusals(report)
        self.on_activity: Callable[[], None] = lambda: None
        self.failure: BaseException | None = None
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            self._lane(path.name)

    def order(self, orders: Iterable[Order]) -> None:
        """Take tasks for satellites, also those that were taken before; from any thread."""
        with self._news:
            for order in orders:
                key = order.satellite, order.task.name
                if key not in self._seen:
                    self._seen.add(key)
                    self._orders[key] = order
            self._news.notify()
        self.on_activity()

    def heard(self, satellite: str, payload: bytes) -> None:
        """Take what a satellite says about its tasks; from any thread."""
        with self._news:
            self._heard.append((satellite, payload))
            self._news.notify()

    def due_s(self) -> float:
        """Return the scenario time at which there is something to do; see `Idleness.watch`."""
        with self._news:
            if self._orders or self._heard or any(lane.busy for lane in self._lanes.values()):
                return -math.inf
            return min((lane.outbox.next_expiry_s() for lane in self._lanes.values()), default=math.inf)

    def stop(self) -> None:
        """Ask the thread to end."""
        with self._news:
            self._stopping = True
            self._news.notify()

    def run(self) -> None:
        """Serve until `stop`; store an unexpected error in `failure`."""
        try:
            while not self._stopping:
                self._turn()
                with self._news:
                    if not (self._heard or self._stopping):
                        self._news.wait(LOOK_S)
        except Exception as error:
            self.failure = error

    def _turn(self) -> None:
        self._store()
        busy = bool(self._heard)
        while self._heard:
            self._handle(*self._heard[0])
            with self._news:
                self._heard.popleft()
        time_s, speed = self._clock.now_s(), self._clock.speed()
        for satellite, lane in self._lanes.items():
            lane.window.speed = speed
            lane.outbox.settle_again()
            busy |= time_s is not None and bool(lane.outbox.expire(time_s))
            lane.sender.forget_settled()
            busy |= lane.busy
            if lane.connected:
                self._send(satellite, lane)
        self._refusals.tell()
        if busy:
            self.on_activity()

    def _send(self, satellite: str, lane: _Lane) -> None:
        topic = topics.tasks_up(satellite)
        while (reply := lane.requests.next_reply()) is not None:
            self._publish(topic, encode(reply))
        while (payload := lane.sender.next_payload(time.monotonic())) is not None:
            self._publish(topic, payload)
            lane.sender.written(time.monotonic())
        if lane.sender.silences > SILENCES_MAX:
            lane.connected = False

    def _handle(self, satellite: str, payload: bytes) -> None:
        try:
            message = decode_upward(payload)
        except MalformedError as error:
            self._refusals.add(satellite, str(error))
            return
        lane, now_s = self._lanes.get(satellite), time.monotonic()
        if lane is None:
            if not isinstance(message, Hello):
                return
            lane = self._lane(satellite)
        if isinstance(message, Hello) or not lane.connected:
            lane.connected = True
            lane.requests.forget()
            lane.sender.connected(ROUND_TRIP_S / lane.window.speed, now_s, go_on=False)
        if isinstance(message, Again):
            lane.requests.handle(message, now_s)
        elif not isinstance(message, Hello):
            lane.sender.handle(message, now_s)

    def _store(self) -> None:
        """Put tasks on disk; those that the disk refuses now are tried again."""
        with self._news:
            orders = list(self._orders.items())
        if not orders or time.monotonic() < self._store_at_s:
            return
        for key, order in orders:
            lane = self._lane(order.satellite)
            expires_s = getattr(order.task, "expires_s", None)
            try:
                body = _whole(order).model_dump_json().encode()
                if lane.outbox.add_task(key[1], body, expires_s=expires_s):
                    self._report(TaskQueued(task=key[1]))
            except ValueError as error:
                self._report(TaskRefused(task=key[1], reason=str(error)))
            except OutboxError as error:
                if error.transient:
                    self._store_at_s = time.monotonic() + STORE_AGAIN_S
                    continue
                self._report(TaskRefused(task=key[1], reason=str(error)))
            with self._news:
                del self._orders[key]
        self.on_activity()

    def _lane(self, satellite: str) -> _Lane:
        lane = self._lanes.get(satellite)
        if lane is None:
            lane = _Lane(self._folder / satellite, satellite, self._rate_bit_s, self._task_report)
            with self._news:
                self._lanes[satellite] = lane
        return lane


def _whole(order: Order) -> Order:
    """Return a task with the files that go up with it.

    Raises:
        ValueError: they are not there, or not as they were when the task was asked.
    """
    task = order.task
    if not isinstance(task, NetworkTask) or task.folder is None:
        return order
    try:
        files = read_network(task.folder)
    except OSError as error:
        raise ValueError(f"{error.filename}: {error.strerror}") from error
    if network_sha256(files) != task.sha256:
        raise ValueError(f"{task.folder} changed during the run")
    texts = {name: base64.b64encode(data).decode() for name, data in files.items()}
    return order.model_copy(update={"task": task.model_copy(update={"folder": None, "files": texts})})
