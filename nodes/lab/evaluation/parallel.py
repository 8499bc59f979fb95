"""The ground's outcomes from several processes at once, each with models of its own, into the cache of all.

A small model on one thread leaves the other cores idle, and on several it gains little.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, as_completed

from nodes.data.pairs import Pair
from nodes.errors import ModelError
from nodes.lab.evaluation.outcomes import Outcomes
from nodes.lab.evaluation.progress import Progress
from nodes.lab.evaluation.subjects import PairSubject
from nodes.policies import Decision

_Asked = tuple[Pair, Decision, Sequence[float]]


def compute_ahead(
    outcomes: Outcomes,
    asked: Sequence[tuple[PairSubject, Decision]],
    jobs: int,
    description: str,
    progress: Progress,
) -> None:
    """Compute what is not known yet of what will be asked; one job leaves that to whoever asks.

    Raises what asking raises, and ModelError where a process was killed.
    """
    if jobs == 1:
        return
    every = [(subject.pair, decision, subject.scores) for subject, decision in asked]
    left = [one for one in every if not outcomes.knows_ground(*one)]
    if not left:
        return
    # Spawned, not forked: torch's threads do not survive a fork.
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _begin, (outcomes,))
    with progress.step(description, len(left)) as tick:
        try:
            for done in as_completed([pool.submit(_compute, one) for one in left]):
                done.result()
                tick()
        except BrokenExecutor:
            raise ModelError(
                "a process that asked the regular model was killed: if memory was short, take fewer --jobs"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


_outcomes: Outcomes | None = None


def _begin(outcomes: Outcomes) -> None:
    global _outcomes  # noqa: PLW0603 - what a process of the pool keeps between its tasks
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which ends the pool
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _outcomes = outcomes


def _end_with_parent() -> None:
    """A parent that is killed says nothing, and the pool would wait for it."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # noqa: S101 - this is a child
    parent.join()
    os._exit(1)


def _compute(asked: _Asked) -> None:
    assert _outcomes is not None  # noqa: S101 - `_begin` was called
    _outcomes.ground(*asked)
