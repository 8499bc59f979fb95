"""Makes the routes of hosts follow a schedule, and the links as they are."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Iterable, Mapping

from testbed.network.clock import Clock
from testbed.network.routes.routed_hosts import RoutedHost
from testbed.network.routes.schedule import RouteSchedule, RouteStep

_LOG = logging.getLogger(__name__)
AFTER_THE_END_S = 1e6  # of the schedule, until which links are followed


class RoutePlayer:
    """Makes the routes of hosts follow a schedule, in a thread of its own.

    A link that is closed though the schedule has it open is left out at once: every node knows the state of
    every link.

    Args:
        clock: scenario time.
        schedule: the routes.
        hosts: the hosts, by name.
        on_step: called once new routes are set, in the thread that set them.
        closed: links that are closed at first; see `link_changed`.

    Attributes:
        error: the exception that ended it early, or None.
        lateness_s: of each step of the schedule so far, seconds of scenario time.
        steps: the routes that were set, with the times at which they were.
    """

    def __init__(
        self,
        clock: Clock,
        schedule: RouteSchedule,
        hosts: Mapping[str, RoutedHost],
        on_step: Callable[[RouteStep], None] | None = None,
        *,
        closed: Iterable[str] = (),
    ) -> None:
        self.error: Exception | None = None
        self.lateness_s: list[float] = []
        self.steps: list[RouteStep] = []
        self._clock, self._schedule, self._hosts = clock, schedule, dict(hosts)
        self._on_step = on_step
        self._closed = set(closed)
        self._addresses = {name: host.address for name, host in hosts.items()}
        self._lock = threading.Lock()  # of the closed links, and of the hosts
        self._news = threading.Event()
        self._stopping = False
        self._next_s = self._started_s = -math.inf
        self._thread = threading.Thread(target=self._play, name="routes", daemon=True)

    def start(self) -> None:
        """Set the routes of now, then follow the schedule. Raises LinkError."""
        self._started_s = self._clock.now_s()
        self._follow(self._started_s)
        self._thread.start()

    def stop(self) -> None:
        """Stop following; the routes stay. May be called twice."""
        self._stopping = True
        self._news.set()
        self._clock.wake()
        if self._thread.ident is not None:
            self._thread.join()

    def next_s(self) -> float:
        """Return the scenario time of the next step that the hosts do not follow yet; inf after the last."""
        return self._next_s

    def check(self) -> None:
        """Raise the exception that ended it early."""
        if self.error is not None:
            raise self.error

    def link_changed(self, link: str, *, is_open: bool) -> None:
        """Note that both directions of a link are up from now on, or that they are not; never waits."""
        with self._lock:
            if is_open == (link not in self._closed):
                return
            if is_open:
                self._closed.discard(link)
            else:
                self._closed.add(link)
            self._news.set()
        self._clock.wake()

    def restore(self, name: str) -> None:
        """Write all routes of a host again: the kernel drops those of an interface that is taken down."""
        with self._lock:
            if name in self._hosts and self.steps:
                table = self.steps[-1].tables(self._schedule.root).get(name, {})
                self._hosts[name].follow(table, self._addresses, again=True)

    def __enter__(self) -> RoutePlayer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _play(self) -> None:
        try:
            for step in self._schedule.steps:
                if step.time_s > self._started_s:
                    self._next_s = step.time_s
                    if not self._reach(step.time_s):
                        return
                    self._follow(step.time_s)
                    self.lateness_s.append(self._clock.late_s(step.time_s))
            self._next_s = math.inf
            self._reach(self._schedule.end_s + AFTER_THE_END_S)
        except Exception as error:
            self.error = error

    def _reach(self, time_s: float) -> bool:
        """Wait for a moment, and follow the links meanwhile; return False if stopped."""
        while not self._clock.wait_until(time_s, self._news):
            if self._stopping:
                return False
            self._news.clear()
            self._follow(self._clock.now_s())
        return not self._stopping

    def _follow(self, time_s: float) -> None:
        """Set the routes of a moment, if they are other ones."""
        with self._lock:
            parents = self._schedule.without(time_s, self._closed).parents
            if self.steps and parents == self.steps[-1].parents:
                return
            step = RouteStep(max(time_s, 0.0), parents)
            tables = step.tables(self._schedule.root)
            changed = sum(
                host.follow(tables.get(name, {}), self._addresses) for name, host in self._hosts.items()
            )
            self.steps.append(step)
            if self._on_step is not None:
                self._on_step(step)
        _LOG.debug("routes at %.3f s: %d changed", time_s, changed)
