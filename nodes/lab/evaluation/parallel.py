"""Compute ground-model outcomes in parallel into a shared cache.

A small model gains little from several threads, so each process has its own models.
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
from nodes.lab.evaluation.evaluated_pairs import EvaluatedPair
from nodes.lab.evaluation.outcomes import Outcomes
from nodes.lab.evaluation.progress import Progress
from nodes.policies import Decision

LIBRARIES = "nodes.vlm.shared.libraries"
_Request = tuple[Pair, Decision, Sequence[float]]


def precompute(
    outcomes: Outcomes,
    requests: Sequence[tuple[EvaluatedPair, Decision]],
    jobs: int,
    description: str,
    progress: Progress,
) -> None:
    """Compute missing outcomes of the regular model ahead of their use; with one job, do nothing.

    Raises:
        ModelError: A process was killed, or the model cannot answer.
    """
    if jobs == 1:
        return
    every = [(evaluated.pair, decision, evaluated.scores) for evaluated, decision in requests]
    missing = [request for request in every if not outcomes.knows_ground(*request)]
    if not missing:
        return
    # Forked from a process that has imported the libraries, which takes seconds. It has not computed: torch's
    # threads do not survive a fork.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, *([LIBRARIES] if outcomes.regular_is_here else [])])
    pool = ProcessPoolExecutor(jobs, context, _begin, (outcomes,))
    with progress.step(description, len(missing)) as tick:
        try:
            for done in as_completed([pool.submit(_compute, request) for request in missing]):
                done.result()
                tick()
        except BrokenExecutor:
            raise ModelError(
                "a process that ran the regular model was killed: if memory is short, use fewer --jobs"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


_outcomes: Outcomes | None = None


def _begin(outcomes: Outcomes) -> None:
    global _outcomes  # noqa: PLW0603 - state of a process of the pool between its tasks
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which ends the pool
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _outcomes = outcomes


def _end_with_parent() -> None:
    """End this process when its parent ends; a killed parent does not shut its pool down."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # noqa: S101 - this is a child
    parent.join()
    os._exit(1)


def _compute(request: _Request) -> None:
    assert _outcomes is not None  # noqa: S101 - `_begin` was called
    _outcomes.ground(*request)
