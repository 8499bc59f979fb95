"""When scenario time may jump: what the nodes told, what they answered, and what the run knows itself.

No clock, no network, no thread: moments are passed in. The messages are in nodes/contract/messages.py.

A jump needs every node idle at one moment. Each node has told a version of what it has to do; the run then
asks. An answer with the version that was told before means that nothing began or ended at that node from
then until its answer, hence not at the moment of the question either. As a sender is busy until the receiver
has what it sent, nothing was on its way between nodes at that moment.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from nodes.contract.messages import Idleness

ANSWERS_WITHIN_S = 10.0


@dataclass(frozen=True, slots=True)
class Ask:
    """The nodes have to be asked.

    Args:
        question: its number.
    """

    question: int


@dataclass(frozen=True, slots=True)
class Jump:
    """Scenario time may jump.

    Args:
        to_s: up to here nothing happens.
    """

    to_s: float


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question that was not answered by all.

    Args:
        at_s: CLOCK_MONOTONIC.
        to_s: scenario time of the first event that was known then.
        versions: what each node had told until then.
    """

    at_s: float
    to_s: float
    versions: dict[str, int]


class Agreement:
    """Collects what nodes tell, and decides on the next step.

    Args:
        nodes: names of all nodes, as they appear in topics.
        now_s: CLOCK_MONOTONIC.

    Attributes:
        ended: why there are no further jumps; None while there may be.
    """

    def __init__(self, nodes: Iterable[str], now_s: float) -> None:
        self.ended: str | None = None
        self._told: dict[str, Idleness] = {}
        self._answers: dict[str, Idleness] = {}
        self._awaited_since_s = dict.fromkeys(nodes, now_s)  # by node: until it told what it has to do
        self._away: set[str] = set()
        self._held_until_s = -math.inf
        self._question = 0
        self._asked: _Asked | None = None
        self._may_have_missed = False  # what a node told
        self._changes = 0
        self._changed_s = -math.inf

    def tell(self, node: str, message: Idleness) -> None:
        """Take a message of a node; those of others are ignored."""
        if node not in self._awaited_since_s or node in self._away:
            return
        self._told[node] = message
        if self._asked is not None and message.answers == self._question:
            self._answers[node] = message
        if message.busy:
            self._asked = None

    def hold(self, until_s: float) -> None:
        """Agree to nothing until a moment of CLOCK_MONOTONIC; what is asked now needs no answer."""
        self._held_until_s = max(self._held_until_s, until_s)
        self._asked = None
        self._may_have_missed = True

    def attend(self, present: Iterable[str], away: Iterable[str], now_s: float) -> None:
        """Note which nodes work, and which do not for the time being; all others are given up or off.

        Args:
            present: nodes that have to answer.
            away: nodes that are started again; nothing is agreed to until they are present.
            now_s: CLOCK_MONOTONIC.
        """
        present, away = set(present), set(away)
        # The next process of a node that is away tells anew.
        self._told = {node: told for node, told in self._told.items() if node in present - away}
        since_s = self._awaited_since_s
        newly = (present - since_s.keys()) | (present & self._away)
        self._awaited_since_s = {
            node: now_s if node in newly else since_s.get(node, now_s) for node in present | away
        }
        if away or newly:
            self._asked = None
            self._may_have_missed = True
        self._away = away

    def changed(self, changes: int, now_s: float) -> None:
        """Note that scenario time has changed so often; every node has to confirm it."""
        self._changes, self._changed_s = changes, now_s

    def step(
        self, now_s: float, time_s: float, stops_s: Iterable[float], worth_s: float
    ) -> Ask | Jump | None:
        """Return what is to be done now.

        Args:
            now_s: CLOCK_MONOTONIC.
            time_s: scenario time of `now_s`.
            stops_s: scenario times that no jump may pass, beside those of the nodes.
            worth_s: a shorter jump is not worth it, seconds of scenario time.
        """
        if self.ended is not None or now_s < self._held_until_s or self._away:
            return None
        if self._may_have_missed:
            self._may_have_missed = False
            self._question += 1
            return Ask(self._question)
        self._check_silence(now_s)
        return self._negotiate(now_s, time_s, self._target_s(stops_s), worth_s) if self._all_idle else None

    @property
    def clock_bound_s(self) -> float:
        """Largest error of scenario time at any node, as told."""
        return max((told.clock_bound_s for told in self._told.values()), default=0.0)

    @property
    def _all_idle(self) -> bool:
        """Whether all nodes have told that they are idle, as far as that is known here."""
        if self.ended is not None or self._told.keys() != self._awaited_since_s.keys():
            return False
        return not any(told.busy or told.changes < self._changes for told in self._told.values())

    def _negotiate(self, now_s: float, time_s: float, to_s: float, worth_s: float) -> Ask | Jump | None:
        if self._asked is not None and time_s >= self._asked.to_s:
            self._asked = None  # what was to come has come
        if to_s - time_s < worth_s or math.isinf(to_s):
            return None
        if self._asked is None:
            self._question += 1
            self._answers = {}
            self._asked = _Asked(now_s, to_s, self._versions())
            return Ask(self._question)
        if self._answers.keys() < self._told.keys():
            return None
        asked, self._asked = self._asked, None
        answered = {node: answer.version for node, answer in self._answers.items()}
        return Jump(min(to_s, asked.to_s)) if asked.versions == answered == self._versions() else None

    def _versions(self) -> dict[str, int]:
        return {node: told.version for node, told in self._told.items()}

    def _target_s(self, stops_s: Iterable[float]) -> float:
        events_s = [told.next_s for told in self._told.values() if told.next_s is not None]
        return min([*events_s, *stops_s], default=math.inf)

    def _check_silence(self, now_s: float) -> None:
        """End all jumping if a node does not tell, answer, or confirm within the bound."""
        bound_s = now_s - ANSWERS_WITHIN_S
        silent = [
            n for n, since_s in self._awaited_since_s.items() if n not in self._told and since_s < bound_s
        ]
        if silent:
            self._end(silent, "did not tell when it is idle")
        elif self._asked is not None and self._asked.at_s < bound_s:
            self._end(self._told.keys() - self._answers.keys(), "did not answer whether it is idle")
        elif self._changes and self._changed_s < bound_s:
            late = [node for node, told in self._told.items() if told.changes < self._changes]
            if late:
                self._end(late, "did not confirm a change of scenario time")

    def _end(self, nodes: Iterable[str], what: str) -> None:
        self.ended = f"{', '.join(sorted(nodes))} {what} within {ANSWERS_WITHIN_S:g} s"
