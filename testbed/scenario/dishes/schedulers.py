"""Schedulers: who gets a dish of a station that sees more satellites than it has dishes.

::

    longest-pass    the satellite with the longest pass; known before the run
    round-robin     the one that has waited longest, for a turn of a minute; known before the run
    most-backlog    the one with the most bytes on board
    highest-value   the one with the most valuable item on board, of equals the nearest deadline

To add one, write a file with a class `Scheduler` and pass its path wherever a scheduler's name is expected::

    from testbed import DishScheduler, InView

    class Scheduler(DishScheduler):
        def score(self, one: InView) -> float:
            return one.los_s - one.now_s     # the longest remaining time

A scheduler with `live = True` is asked during the run, and sees what the satellites report of their queues.
Any other is asked before it, and the links' traces are cut to what it decides.
"""

from __future__ import annotations

import difflib
import importlib.util
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from nodes.contract.files import is_policy_file

TURN_S = 60.0


@dataclass(frozen=True)
class Queue:
    """What a satellite has on board for the ground, as it last reported.

    Attributes:
        items: Number of images and answers.
        size_bytes: Their size.
        best_value: The highest value among them; 0 if there are none.
        deadline_s: The nearest deadline, in scenario time; None if none has one.
        sending: Whether an image is partly sent.
    """

    items: int = 0
    size_bytes: int = 0
    best_value: float = 0.0
    deadline_s: float | None = None
    sending: bool = False


@dataclass(frozen=True)
class InView:
    """A satellite that a station sees, as a scheduler sees it. All times are of the scenario.

    Attributes:
        satellite: Its name.
        station: The station.
        now_s: The moment of the decision.
        aos_s: When the pass began.
        los_s: When it will end.
        served_since_s: Since when it has its dish; None without one.
        last_served_s: When it last lost a dish of this station; None if it never had one.
        queue: What it reported last; None for a scheduler that is asked before the run.
    """

    satellite: str
    station: str
    now_s: float
    aos_s: float
    los_s: float
    served_since_s: float | None = None
    last_served_s: float | None = None
    queue: Queue | None = None

    @property
    def reported(self) -> Queue:
        """The queue; an empty one if nothing is known of it."""
        return self.queue or Queue()


class DishScheduler(ABC):
    """Base of schedulers; the highest score gets a dish, and of equals the first of the scenario.

    Attributes:
        live: Whether it is asked during the run, since it depends on the satellites' queues.
        every_s: How often it is asked while a satellite waits, beside begins and ends of passes; None: not.
        margin: How many times the score of a satellite with a dish another needs to take it away.
        margin_in_image: The same while that satellite is sending an image.
    """

    live: ClassVar[bool] = False
    every_s: ClassVar[float | None] = None
    margin: ClassVar[float] = 1.25
    margin_in_image: ClassVar[float] = 2.0

    @abstractmethod
    def score(self, one: InView) -> float:
        """Return how much a satellite deserves a dish."""

    def rank(self, one: InView) -> tuple[float, ...]:
        """Return the order in which free dishes are given away, the largest first."""
        return (self.score(one),)

    def takes(self, waiting: InView, holder: InView) -> bool:
        """Return whether a satellite that waits takes the dish of another."""
        margin = self.margin_in_image if holder.reported.sending else self.margin
        return self.score(waiting) > margin * self.score(holder)

    def reason(self, one: InView) -> str:
        """Return why a satellite got a dish, in words."""
        return f"score {self.score(one):.3g}"


class LongestPass(DishScheduler):
    """The satellite whose pass is the longest."""

    def score(self, one: InView) -> float:
        """Return the length of the pass."""
        return one.los_s - one.aos_s

    def reason(self, one: InView) -> str:
        """Return the length in words."""
        return f"a pass of {one.los_s - one.aos_s:.0f} s"


class RoundRobin(DishScheduler):
    """The satellite that has waited longest; a turn lasts for `TURN_S`, or until nobody else waits."""

    every_s = 5.0

    def score(self, one: InView) -> float:
        """Return for how long it has had no dish; of one that never had any, since long before the pass."""
        if one.served_since_s is not None:
            return one.served_since_s - one.now_s
        return math.inf if one.last_served_s is None else one.now_s - one.last_served_s

    def takes(self, waiting: InView, holder: InView) -> bool:
        """Return whether the turn is over."""
        return holder.served_since_s is not None and holder.now_s - holder.served_since_s >= TURN_S

    def reason(self, one: InView) -> str:
        """Return the waiting time in words."""
        if one.last_served_s is None:
            return "its first turn"
        return f"its last turn ended {one.now_s - one.last_served_s:.0f} s ago"


class MostBacklog(DishScheduler):
    """The satellite with the most bytes on board."""

    live = True
    every_s = 5.0

    def score(self, one: InView) -> float:
        """Return the bytes."""
        return one.reported.size_bytes

    def reason(self, one: InView) -> str:
        """Return the bytes in words."""
        return f"{one.reported.size_bytes / 1e6:.2f} MB on board"


class HighestValue(DishScheduler):
    """The satellite with the most valuable item on board, of equals that with the nearest deadline."""

    live = True
    every_s = 5.0
    margin = 1.0
    margin_in_image = 1.25

    def score(self, one: InView) -> float:
        """Return the highest value."""
        return one.reported.best_value

    def rank(self, one: InView) -> tuple[float, ...]:
        """Return value, deadline and bytes."""
        queue = one.reported
        return (
            queue.best_value,
            -math.inf if queue.deadline_s is None else -queue.deadline_s,
            queue.size_bytes,
        )

    def takes(self, waiting: InView, holder: InView) -> bool:
        """Return whether the value is higher, or equal with a nearer deadline and no image is interrupted."""
        if super().takes(waiting, holder):
            return True
        theirs, own = waiting.reported, holder.reported
        nearer = theirs.deadline_s is not None and theirs.deadline_s < (own.deadline_s or math.inf)
        return nearer and theirs.best_value == own.best_value and not own.sending

    def reason(self, one: InView) -> str:
        """Return the value in words."""
        queue = one.reported
        by = "" if queue.deadline_s is None else f", due at {queue.deadline_s:.0f} s"
        return f"an item of value {queue.best_value:g} on board{by}"


SCHEDULERS: dict[str, Callable[[], DishScheduler]] = {
    "longest-pass": LongestPass,
    "round-robin": RoundRobin,
    "most-backlog": MostBacklog,
    "highest-value": HighestValue,
}


def known_scheduler(name: str) -> str:
    """Return the name of a scheduler, or the absolute path of a scheduler's file. Raises ValueError."""
    if is_policy_file(name):
        return str(Path(name).absolute())
    if name not in SCHEDULERS:
        near = difflib.get_close_matches(name, SCHEDULERS, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ValueError(
            f"unknown scheduler {name!r}: {hint}schedulers: {', '.join(SCHEDULERS)}, or the path of a file"
        )
    return name


def scheduler_named(name: str) -> DishScheduler:
    """Create a scheduler.

    Args:
        name: Name of a scheduler, or path of a file with a class `Scheduler`.

    Raises:
        ValueError: There is none, or the file cannot be used. The text is one line.
    """
    name = known_scheduler(name)
    if not is_policy_file(name):
        return SCHEDULERS[name]()
    path = Path(name)
    spec = importlib.util.spec_from_file_location(f"scheduler_{path.stem}", path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise ValueError(f"scheduler file {path} does not exist: check the path")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        made = module.Scheduler()
    except Exception as error:  # a user's file may raise anything
        text = " ".join(str(error).split())
        raise ValueError(f"{path} cannot be used: {type(error).__name__}: {text}") from error
    if not isinstance(made, DishScheduler):
        raise ValueError(f"{path}: its Scheduler is not a testbed.DishScheduler: derive it from that class")
    return made
