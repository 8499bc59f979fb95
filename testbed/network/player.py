"""Makes links follow their traces, on absolute deadlines of a clock."""

from __future__ import annotations

import heapq
import logging
import math
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from operator import itemgetter
from types import TracebackType
from typing import Protocol, TypeAlias

import numpy as np

from testbed.errors import ShaperDiedError, TestbedError
from testbed.network.clock import Clock
from testbed.network.link_state import DOWN_STATE, LONGEST_DELAY_S, LOWEST_RATE_BIT_S, LinkState
from traces.trace import Trace, TraceRow

_LOG = logging.getLogger(__name__)

CHECK_EVERY_S = 0.5
# Real-time, of the player's thread, below those of shapers and probes. After a jump all nodes wake up at
# once, and a link must not wait for them.
PRIORITY = 10
# Changes of several links that are due within this time are made together, when the last of them is due: to
# wake up for each of 200 links costs more than to set it. The edges of a contact are never kept waiting.
TOGETHER_S = 4e-3
QUEUE_S, QUEUE_BYTES = (
    0.2,
    64_000,
)  # of each direction, since traces have no queues: seconds of its rate, at least
States: TypeAlias = tuple[LinkState, LinkState]  # satellite to ground, and back
DOWN_STATES = DOWN_STATE, DOWN_STATE


class LinkSetter(Protocol):
    """An object that sets many links at once; `Sky` does."""

    def set_links(self, requested: Mapping[str, tuple[LinkState, LinkState]]) -> None:
        """Write (down, up) of each link by its name, and read them back."""


class PlayedLink(Protocol):
    """The parts of a link that the player needs; `ContactLink` and `SkyLink` have them.

    Attributes:
        name: unique in its sky.
        sky: sets it together with other links.
    """

    name: str

    @property
    def sky(self) -> LinkSetter | None:
        """The sky of the link; None if each such link is set by itself."""

    def set(self, down: LinkState, up: LinkState) -> None:
        """Write both directions and read them back."""

    def check(self) -> None:
        """Raise ShaperDiedError if the link's shaper has ended."""


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one link, after it was made and read back.

    Args:
        link: the link's name.
        time_s: scenario time of the change in the trace.
        lateness_s: delay from then until it was in force, seconds of scenario time.
        down, up_link: the states that the trace asks for, satellite to ground and back; where the clock runs
            ahead, faster ones were written.
    """

    link: str
    time_s: float
    lateness_s: float
    down: LinkState
    up_link: LinkState

    @property
    def up(self) -> bool:
        """Whether there is a contact from here on: whether either direction is up."""
        return self.down.up or self.up_link.up


def unplayable(trace: Trace) -> str | None:
    """Return the reason why no link can follow a trace, or None if links can."""
    for way in ("down", "up"):
        rate_bit_s, delay_s = getattr(trace, f"{way}_bit_s"), getattr(trace, f"{way}_delay_s")
        up = getattr(trace, f"{way}link_up")
        slow, far = rate_bit_s < LOWEST_RATE_BIT_S, delay_s > LONGEST_DELAY_S
        for name, column, wrong, expected in (
            (f"{way}_bit_s", rate_bit_s, slow, f"{LOWEST_RATE_BIT_S:g} or more"),
            (f"{way}_delay_s", delay_s, far, f"{LONGEST_DELAY_S:g} or less"),
        ):
            if (up & wrong).any():
                row = int(np.argmax(up & wrong))
                at = f"at {trace.time_s[row]:g} s its {name} is {column[row]:g}"
                return f"{at}; while up, a link can do {expected}"
    return None


def states_of(row: TraceRow, queue_s: float = QUEUE_S, queue_at_least_bytes: int = QUEUE_BYTES) -> States:
    """Return the states (down, up) that a row of a trace asks for.

    Args:
        row: the row.
        queue_s: length of each direction's queue in seconds of its rate; traces have no queues.
        queue_at_least_bytes: the shortest queue, bytes.
    """
    down = up = DOWN_STATE
    if row.downlink_up:
        down_bytes = max(queue_at_least_bytes, round(row.down_bit_s / 8 * queue_s))
        down = LinkState(True, row.down_bit_s, row.down_delay_s, row.down_loss, down_bytes)
    if row.uplink_up:
        up_bytes = max(queue_at_least_bytes, round(row.up_bit_s / 8 * queue_s))
        up = LinkState(True, row.up_bit_s, row.up_delay_s, row.up_loss, up_bytes)
    return down, up


def _edges(trace: Trace) -> Iterator[float]:
    """Yield the times at which a direction of a trace opens or closes, and its end."""
    before = (False, False)
    for row in trace.rows():
        if (row.downlink_up, row.uplink_up) != before:
            before = row.downlink_up, row.uplink_up
            yield row.time_s
    if any(before):
        yield trace.end_s


class Player:
    """Plays one trace on each link, in a thread of its own; after its end, a link is down.

    Args:
        clock: scenario time; second 0 is the traces' second 0. Links are as much faster as it runs.
        links: the trace of each link.
        on_change: called in the player's thread after every change; an exception ends the play.
        queue_s: length of each direction's queue in seconds of its rate; traces have no queues.
        queue_at_least_bytes: the shortest queue, bytes.

    Attributes:
        error: the exception that ended the play early, or None; all links are then down.
        lateness_s: of each change so far, seconds of scenario time.
    """

    def __init__(
        self,
        clock: Clock,
        links: Mapping[PlayedLink, Trace],
        on_change: Callable[[Change], None] | None = None,
        *,
        queue_s: float = QUEUE_S,
        queue_at_least_bytes: int = QUEUE_BYTES,
    ) -> None:
        self.error: Exception | None = None
        self.lateness_s: list[float] = []
        self._clock = clock
        self._links = dict(links)
        self._on_change = on_change
        self._queue_s = queue_s
        self._queue_at_least_bytes = queue_at_least_bytes
        self._edges = {link: deque(_edges(trace)) for link, trace in self._links.items()}
        self._setting = threading.RLock()  # while links are set
        self._held: dict[PlayedLink, tuple[LinkState, LinkState]] = {}
        self._stop = threading.Event()
        self._next_check_s = -math.inf
        self._passed_s = (
            -math.inf
        )  # time that has surely passed; saves reading the clock, a system call on some machines
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Put every link into its state of now, then follow the traces. Raises LinkError."""
        if self._thread is not None:
            raise RuntimeError("a player plays once")
        now_s = self._clock.now_s()
        for edges in self._edges.values():
            while edges and edges[0] <= now_s:
                edges.popleft()
        try:
            for link, trace in self._links.items():
                self._apply(link, now_s, self._states_at(trace, now_s))
        except BaseException:
            self._take_down()
            raise
        self._thread = threading.Thread(target=self._play, args=(now_s,), name="player", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop following and take every link down. May be called twice; raises nothing, see `error`."""
        self._stop.set()
        self._clock.wake()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        self._take_down()

    def next_edge_s(self) -> float:
        """Return the scenario time of the next edge that no link has yet; inf after the last.

        An edge is the begin or the end of a contact, in either direction.
        """
        return min((edges[0] for edges in self._edges.values() if edges), default=math.inf)

    def follow_speed(self) -> None:
        """Set every link again, as fast as the clock runs now; call it after its speed has changed."""
        with self._setting:
            self._write({link: states for link, states in self._held.items() if states != DOWN_STATES})

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait for the end of all traces; return False if they go on. Raises `error` if it is set."""
        if self._thread is not None:
            self._thread.join(timeout_s)
        if self.error is not None:
            raise self.error
        return self._thread is None or not self._thread.is_alive()

    def __enter__(self) -> Player:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _play(self, from_s: float) -> None:
        with suppress(OSError):  # not allowed everywhere; changes are then a little later
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(PRIORITY))
        try:
            for due in self._turns(from_s):
                if not self._wait_and_check(max(time_s for time_s, _ in due.values())):
                    return
                self._apply_all(due)
        except Exception as error:
            self.error = error
            self._take_down()

    def _turns(self, from_s: float) -> Iterator[dict[PlayedLink, tuple[float, States]]]:
        """Yield changes to make together: those within `TOGETHER_S`, or an edge of a contact by itself.

        Of a link's changes that have passed, as after a jump, only the latest is made.
        """
        changes = self._changes(from_s)
        change = next(changes, None)
        while change is not None:
            time_s, link, states = change
            due, edge = {link: (time_s, states)}, self._is_edge(link, states)
            self._passed_s = self._clock.now_s()
            until_s = max(time_s + TOGETHER_S, self._passed_s)  # a late player catches up
            while (change := next(changes, None)) is not None and not edge:
                time_s, link, states = change
                if time_s > until_s or self._is_edge(link, states):
                    break
                if link in due and time_s > self._passed_s:
                    break
                due[link] = time_s, states
            yield due

    def _is_edge(self, link: PlayedLink, states: States) -> bool:
        """Return whether a direction opens or closes."""
        (down, up), (held_down, held_up) = states, self._held.get(link, (DOWN_STATE, DOWN_STATE))
        return down.up != held_down.up or up.up != held_up.up

    def _changes(self, from_s: float) -> Iterator[tuple[float, PlayedLink, States]]:
        """Yield all rows of all traces after `from_s`, and their ends, in order of time."""
        by_link = [self._changes_of(link, trace, from_s) for link, trace in self._links.items()]
        return heapq.merge(*by_link, key=itemgetter(0))

    def _changes_of(
        self, link: PlayedLink, trace: Trace, from_s: float
    ) -> Iterator[tuple[float, PlayedLink, States]]:
        for row in trace.rows():
            if row.time_s > from_s:
                yield row.time_s, link, self._states(row)
        if trace.end_s > from_s:
            yield trace.end_s, link, (DOWN_STATE, DOWN_STATE)

    def _wait_and_check(self, time_s: float) -> bool:
        """Sleep to `time_s`, checking the links now and then; return False if stopped."""
        while True:
            # By time and not before each change: with many links the checks would be most of the work.
            if self._passed_s >= self._next_check_s:
                for link in self._links:
                    link.check()
                self._next_check_s = self._clock.now_s() + CHECK_EVERY_S * self._clock.speed
            until_s = min(time_s, self._next_check_s)
            if not self._clock.wait_until(until_s, self._stop):
                return False
            self._passed_s = max(self._passed_s, until_s)
            if time_s <= self._next_check_s:
                return True

    def _apply(self, link: PlayedLink, time_s: float, states: States) -> None:
        if self._held.get(link) != states:
            link.set(*self._written(states))
            self._note(link, time_s, states)

    def _apply_all(self, due: Mapping[PlayedLink, tuple[float, States]]) -> None:
        new = {link: change for link, change in due.items() if self._held.get(link) != change[1]}
        with self._setting:
            self._write({link: states for link, (_, states) in new.items()})
            for link, (time_s, states) in new.items():
                self._note(link, time_s, states)
        for link, (time_s, _) in due.items():
            edges = self._edges[link]
            while edges and edges[0] <= time_s:
                edges.popleft()

    def _write(self, new: Mapping[PlayedLink, States]) -> None:
        by_sky: dict[LinkSetter, dict[str, States]] = {}
        for link, states in new.items():
            written = self._written(states)
            if link.sky is None or len(new) == 1:
                link.set(*written)
            else:
                by_sky.setdefault(link.sky, {})[link.name] = written
        for sky, requested in by_sky.items():
            sky.set_links(requested)

    def _note(self, link: PlayedLink, time_s: float, states: States) -> None:
        self._held[link] = states
        lateness_s = self._clock.late_s(time_s)
        _LOG.debug(
            "link %s at %.3f s, %.1f ms late: down %s, up %s", link.name, time_s, lateness_s * 1e3, *states
        )
        self.lateness_s.append(lateness_s)
        if self._on_change is not None:
            self._on_change(Change(link.name, time_s, lateness_s, *states))

    def _states_at(self, trace: Trace, time_s: float) -> tuple[LinkState, LinkState]:
        if not 0 <= time_s < trace.end_s:
            return DOWN_STATE, DOWN_STATE
        return self._states(trace.row_at(time_s))

    def _states(self, row: TraceRow) -> tuple[LinkState, LinkState]:
        return states_of(row, self._queue_s, self._queue_at_least_bytes)

    def _written(self, states: States) -> States:
        """Return the states that pass as much in a real second as was asked for in one of scenario time."""
        speed = self._clock.speed
        return states[0].accelerated(speed), states[1].accelerated(speed)

    def _take_down(self) -> None:
        """Take every link down, whatever else is wrong: no link stays up without its trace."""
        for link in self._links:
            try:
                link.set(DOWN_STATE, DOWN_STATE)
            except ShaperDiedError:
                pass  # the shaper gets no order any more, but `set` has taken the ports down
            except TestbedError as error:
                self.error = self.error or error
        self._held.clear()
