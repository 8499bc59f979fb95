"""The seam between an evaluation and what computes it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

from nodes.lab.evaluation.outcomes import Outcomes
from nodes.lab.evaluation.progress import Progress
from nodes.lab.evaluation.workers import tasks

Item = TypeVar("Item")
Result = TypeVar("Result")


class Executor(Protocol):
    """Computes tasks; the part of `concurrent.futures.Executor` that evaluations use."""

    def map(self, task: Callable[[Item], Result], items: Sequence[Item], /) -> Iterator[Result]:
        """Yield the results in the order of the items; a task's error is raised in its place."""

    def close(self) -> None:
        """End all workers; what they have not finished is dropped."""


class ThisProcess:
    """Computes one task after the other in this process, each when its result is asked for.

    Args:
        outcomes: Outcomes of both models.
    """

    def __init__(self, outcomes: Outcomes) -> None:
        self._outcomes = outcomes

    def map(self, task: Callable[[Item], Result], items: Iterable[Item], /) -> Iterator[Result]:
        """Yield the result of each item."""
        tasks.begin(self._outcomes)
        return map(task, items)

    def close(self) -> None:
        """Do nothing."""


def run_tasks(
    executor: Executor,
    task: Callable[[Item], Result],
    items: Sequence[Item],
    description: str,
    progress: Progress,
) -> list[Result]:
    """Return the result of each item, and show progress; without items, do nothing."""
    if not items:
        return []
    results = []
    with progress.step(description, len(items)) as tick:
        for result in executor.map(task, items):
            results.append(result)
            tick()
    return results
