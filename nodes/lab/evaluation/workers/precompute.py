"""Compute missing outcomes of models into the cache, by many workers, ahead of their use."""

from __future__ import annotations

from collections.abc import Sequence

from nodes.data.pairs import Pair
from nodes.lab.evaluation.evaluated_pairs import EvaluatedPair
from nodes.lab.evaluation.outcomes import Outcomes
from nodes.lab.evaluation.progress import Progress
from nodes.lab.evaluation.workers.executor import Executor, run_tasks
from nodes.lab.evaluation.workers.tasks import compute_ground, compute_onboard
from nodes.policies import Decision


def precompute_onboard(
    executor: Executor, outcomes: Outcomes, pairs: Sequence[Pair], description: str, progress: Progress
) -> None:
    """Compute the compact model's outcomes for pairs.

    Raises:
        ModelError: A worker was killed, or the model cannot answer.
    """
    missing = [pair for pair in pairs if not outcomes.knows_onboard(pair)]
    run_tasks(executor, compute_onboard, missing, description, progress)


def precompute_ground(
    executor: Executor,
    outcomes: Outcomes,
    requests: Sequence[tuple[EvaluatedPair, Decision]],
    description: str,
    progress: Progress,
) -> None:
    """Compute the regular model's outcomes for decisions.

    Raises:
        ModelError: A worker was killed, or the model cannot answer.
    """
    every = [(evaluated.pair, decision, evaluated.scores) for evaluated, decision in requests]
    missing = [request for request in every if not outcomes.knows_ground(*request)]
    run_tasks(executor, compute_ground, missing, description, progress)
