"""Supervision of a run's programs: a node's that dies is started again, or given up by a rule.

The rule is `nodes.contract.board.RestartRule`, which boards' agents follow as well. What a node had on disk
outlives it: a satellite goes on with its outbox, a station with the inbox.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from nodes.contract.board import GIVEN_UP, RestartRule
from nodes.contract.events import ProgramChanged, ProgramState
from testbed.errors import TestbedError
from testbed.mqtt.management import ManagementPlane
from testbed.network.programs import EXIT_USAGE, Program, exit_code
from testbed.results.absence import MANAGEMENT
from testbed.run.clock.skipping import NodeState

AWAY_S = 2.0  # a management broker that died is started again sooner
AWAY_MAX_S = 60.0
ANSWERS_WITHIN_S = 1.0
EVENTS_WITHIN_S = 3.0  # after the broker is back: nodes connect again within a second


class SupervisedNode:
    """The program of one node, which `look` restarts when it has died.

    Args:
        name: the node's name.
        start: starts the program.
        report: receives each change as an event of the run.
        says_ready: whether `is_ready` is called once it works; else it works as soon as it is started.

    Attributes:
        given_up: why it is not started any more; None while it is supervised.
    """

    def __init__(
        self,
        name: str,
        start: Callable[[], Program],
        report: Callable[[ProgramChanged], None],
        *,
        says_ready: bool = True,
    ) -> None:
        self.name = name
        self._says_ready = says_ready
        self.given_up: str | None = None
        self._start = start
        self._report = report
        self._rule = RestartRule()
        self._restart_s: float | None = None  # when a dead program is started again
        self._away = False
        self._paused = False
        self._program = start()

    @property
    def state(self) -> NodeState:
        """Whether the program works, is started again, or is off: given up, or paused by a fault."""
        if self.given_up is not None or self._paused:
            return "off"
        return "away" if self._away or self._restart_s is not None else "works"

    def look(self, *, started: bool) -> None:
        """Start the program again if it has died; to be called often.

        Args:
            started: whether the run has started. Before that, a program that has to be given up, or that
                refuses its input with exit code 2, is an error.

        Raises:
            TestbedError: the run cannot start without it.
        """
        if self.given_up is not None or self._paused:
            return
        if self._restart_s is not None:
            self._restart(started)
        elif (ending := self._program.ending()) is not None:
            if not started and exit_code(self._program.process) == EXIT_USAGE:
                self._program.check(started=False)
            self._program.stop()
            # What says nothing, such as the process of the models, has no events to lose.
            killed = self._says_ready and (exit_code(self._program.process) or 0) < 0
            self._died(f"its program {ending}", started, killed=killed)

    def is_ready(self) -> None:
        """Note that the program works, as its event `ready` says."""
        if self._away and self._restart_s is None and self.given_up is None and not self._paused:
            self._away = False
            self._tell("ready")

    def lose(self, reason: str) -> None:
        """End the program for good.

        Args:
            reason: as the results name it, such as the loss of the station's broker.
        """
        if self.given_up is None:
            self.given_up = reason
            self.stop()
            self._tell("given up", reason)

    def pause(self, reason: str) -> None:
        """End the program at once, until `resume`.

        Args:
            reason: as the results name it, such as a fault of the scenario.
        """
        if self.given_up is None and not self._paused:
            self._paused, self._restart_s = True, None
            self._program.kill()
            self._away = True
            self._tell("lost", reason)

    def resume(self) -> None:
        """Let `look` start the program again that was paused."""
        if self._paused:
            self._paused, self._restart_s = False, time.monotonic()

    def ask_to_stop(self) -> None:
        """Ask the program to end, and do not wait."""
        self._program.ask_to_stop()

    def stop(self) -> None:
        """End the program."""
        self._program.stop()

    def _restart(self, started: bool) -> None:
        assert self._restart_s is not None  # noqa: S101  # `look` has seen it
        if time.monotonic() < self._restart_s:
            return
        self._restart_s = None
        try:
            self._program = self._start()
        except (OSError, TestbedError) as error:  # no process, no descriptor, no host
            self._died(f"its program could not be started: {error}", started)
            return
        if not self._says_ready:
            self.is_ready()

    def _died(self, ending: str, started: bool, *, killed: bool = False) -> None:
        now_s = time.monotonic()
        pause_s = self._rule.pause_s(now_s)
        if pause_s is not None:
            self._restart_s = now_s + pause_s
            if not self._away:
                self._away = True
                self._tell("lost", ending, killed=killed)
            return
        reason = f"{ending}; {GIVEN_UP}"
        if not started:
            raise TestbedError(f"{self.name}: {reason}")
        self.given_up = reason
        self._tell("given up", reason, killed=killed)

    def _tell(self, state: ProgramState, reason: str | None = None, *, killed: bool = False) -> None:
        self._report(ProgramChanged(program=self.name, state=state, reason=reason, killed=killed))


class ManagementWatch:
    """Notes when the management broker is away, and how long the run waits for it at its end.

    Args:
        plane: the run's connection to the broker.
        report: receives its loss and its return.
    """

    def __init__(self, plane: ManagementPlane, report: Callable[[ProgramChanged], None]) -> None:
        self._plane = plane
        self._report = report
        self._away_since_s: float | None = None
        self._back_s = float("-inf")

    def look(self) -> None:
        """Note a broker that was lost, or is back; to be called often."""
        lost_s = self._plane.lost_s()
        if lost_s > AWAY_S:
            self._lost(lost_s)
        elif lost_s == 0 and self._away_since_s is not None and self._plane.answers(ANSWERS_WITHIN_S):
            self._away_since_s, self._back_s = None, time.monotonic()
            self._report(ProgramChanged(program=MANAGEMENT, state="ready"))

    def delays_the_end(self) -> bool:
        """Return whether events of nodes may still come because the broker is away, or was until now."""
        if self._away_since_s is None and not self._plane.answers(ANSWERS_WITHIN_S):
            self._lost(ANSWERS_WITHIN_S)
        now_s = time.monotonic()
        if self._away_since_s is not None:
            return now_s - self._away_since_s < AWAY_MAX_S
        return now_s - self._back_s < EVENTS_WITHIN_S

    def _lost(self, lost_s: float) -> None:
        if self._away_since_s is None:
            self._away_since_s = time.monotonic() - lost_s
            self._report(ProgramChanged(program=MANAGEMENT, state="lost", reason="it did not answer"))
