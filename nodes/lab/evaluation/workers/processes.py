"""Processes of this machine, each with models of its own: a small model gains little from several threads."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor

from nodes.errors import ModelError
from nodes.lab.evaluation.outcomes import Outcomes
from nodes.lab.evaluation.workers import tasks
from nodes.lab.evaluation.workers.executor import Item, Result

LIBRARIES = "nodes.vlm.shared.libraries"


class LocalProcesses:
    """A pool of processes, which start with the first task.

    Args:
        outcomes: Outcomes of both models.
        count: Number of processes.
    """

    def __init__(self, outcomes: Outcomes, count: int) -> None:
        # Forked from a process that has imported the libraries, which takes seconds. It has not computed:
        # torch's threads do not survive a fork.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__, *([LIBRARIES] if outcomes.regular_is_here else [])])
        self._pool = ProcessPoolExecutor(count, context, _begin, (outcomes,))

    def map(self, task: Callable[[Item], Result], items: Sequence[Item], /) -> Iterator[Result]:
        """Yield the results in the order of the items.

        Raises:
            ModelError: A process was killed.
        """
        try:
            yield from self._pool.map(task, items)
        except BrokenExecutor:
            raise ModelError(
                "a process that ran the regular model was killed: if memory is short, use fewer --jobs"
            ) from None

    def close(self) -> None:
        """End the processes."""
        self._pool.shutdown(cancel_futures=True)


def _begin(outcomes: Outcomes) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which ends the pool
    threading.Thread(target=_end_with_parent, daemon=True).start()
    tasks.begin(outcomes)


def _end_with_parent() -> None:
    """End this process when its parent ends; a killed parent does not shut its pool down."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # noqa: S101 - this is a child
    parent.join()
    os._exit(1)
