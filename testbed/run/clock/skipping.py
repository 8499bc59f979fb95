"""Skips idle time of a run: a thread that jumps to the next event whenever no node has anything to do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Literal

from nodes.contract.events import SkippingEnded
from nodes.contract.messages import Idleness
from nodes.contract.topics import slug
from testbed.mqtt.management import ManagementPlane
from testbed.run.clock.agreement import Agreement, Ask
from testbed.run.clock.run_time import RunTime

LOOK_EVERY_S = 0.1  # without news
WORTH_S = 0.05  # real; a shorter wait is not worth the messages
AFTER_A_LOSS_S = 5.0  # a station's items are found by the others

NodeState = Literal["works", "away", "off"]
NextStop = Callable[[float], float]
"""Returns the first scenario time after another one that no jump may pass; inf if there is none."""


class Skipping:
    """Jumps over idle time until `stop`.

    Args:
        names: of all nodes.
        run_time: makes the jumps.
        plane: carries questions and answers.
        stops: what the run knows: edges of contacts, faults, its end.
    """

    def __init__(
        self, names: Iterable[str], run_time: RunTime, plane: ManagementPlane, stops: Iterable[NextStop]
    ) -> None:
        self._names = {slug(name): name for name in names}
        self._run_time, self._plane, self._stops = run_time, plane, tuple(stops)
        self._agreement = Agreement(self._names, time.monotonic())
        self._news = threading.Condition()
        self._is_news = False
        self._stopping = False
        self._off: set[str] = set()
        self._thread = threading.Thread(target=self._run, name="skipping", daemon=True)
        self.failure: BaseException | None = None
        plane.on_idleness = self._on_idleness
        self._agreement.hold(time.monotonic())  # nodes may have told already: they are asked at first

    @property
    def ended(self) -> str | None:
        """Why no further time is skipped; None while it may be."""
        return self._agreement.ended

    def start(self) -> None:
        """Begin; the nodes have been told the start."""
        self._thread.start()

    def stop(self) -> None:
        """End; no jump is made afterwards."""
        with self._news:
            self._stopping = True
            self._news.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    def attend(self, states: Mapping[str, NodeState]) -> None:
        """Note the state of the nodes' programs; call it often.

        Args:
            states: by name.
        """
        now_s = time.monotonic()
        with self._news:
            by_state: dict[NodeState, set[str]] = {"works": set(), "away": set(), "off": set()}
            for name, state in states.items():
                by_state[state].add(slug(name))
            if by_state["off"] - self._off or by_state["away"]:
                self._agreement.hold(now_s + AFTER_A_LOSS_S)
            self._off = by_state["off"]
            self._agreement.attend(by_state["works"], by_state["away"], now_s)
            if self._plane.lost_s() > 0:
                self._agreement.hold(now_s + LOOK_EVERY_S)

    def _on_idleness(self, node: str, message: Idleness) -> None:
        with self._news:
            self._agreement.tell(node, message)
            self._is_news = True
            self._news.notify_all()

    def _run(self) -> None:
        try:
            while True:
                with self._news:
                    self._news.wait_for(lambda: self._is_news or self._stopping, LOOK_EVERY_S)
                    if self._stopping:
                        return
                    self._is_news = False
                    self._step()
                    if self._agreement.ended is not None:
                        break
            self._plane.report(
                SkippingEnded(reason=self._agreement.ended), time_s=self._run_time.clock.now_s()
            )
        except BaseException as error:
            self.failure = error

    def _step(self) -> None:
        now_s = time.monotonic()
        clock = self._run_time.clock
        if self._plane.lost_s() > 0:
            self._agreement.hold(now_s + LOOK_EVERY_S)
            return
        scale = clock.scale
        time_s = scale.at(max(now_s, scale.pieces[-1].monotonic_s))  # a jump may be about to happen
        if time_s < 0:
            return
        self._run_time.clock_bound_s = self._agreement.clock_bound_s
        worth_s = (self._run_time.landing_s + WORTH_S) * clock.speed
        decided = self._agreement.step(now_s, time_s, (stop(time_s) for stop in self._stops), worth_s)
        if isinstance(decided, Ask):
            self._plane.ask_nodes(decided.question)
        elif decided is not None:
            self._agreement.changed(self._run_time.jump(decided.to_s), time.monotonic())
