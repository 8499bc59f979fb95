"""The workers of a job."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from nodes.contract.evaluation import SLURM_PLACES, Job
from nodes.lab.evaluation.outcomes import Outcomes
from nodes.lab.evaluation.workers.executor import Executor, ThisProcess


@dataclass(frozen=True)
class Workers:
    """Who computes which part of an evaluation.

    Attributes:
        compact: Outcomes of the compact model.
        regular: Outcomes of the regular model that are known to be needed.
        cells: Policies over links.
    """

    compact: Executor
    regular: Executor
    cells: Executor


@contextlib.contextmanager
def workers_of(job: Job, outcomes: Outcomes) -> Iterator[Workers]:
    """Return the workers of a job; they end with the context.

    Raises:
        ModelError: The cluster cannot be reached, or a package that it needs is not installed.
    """
    here = ThisProcess(outcomes)
    if job.cluster is None and job.jobs == 1:
        yield Workers(here, here, here)
        return
    executor = _executor(job, outcomes)
    try:
        if job.cluster is None:
            # The compact model is in this process already, and a cell takes milliseconds.
            yield Workers(here, executor, here)
        else:
            yield Workers(executor, executor, executor)
    finally:
        executor.close()


def _executor(job: Job, outcomes: Outcomes) -> Executor:
    """Return the executor of a job; each module is imported only where it is used."""
    if job.cluster is None:
        from nodes.lab.evaluation.workers.processes import LocalProcesses

        return LocalProcesses(outcomes, job.jobs or 1)
    if job.cluster in SLURM_PLACES:
        from nodes.lab.evaluation.workers.slurm import SlurmJobs

        return SlurmJobs(outcomes, job)
    from nodes.lab.evaluation.workers.ray_cluster import RayActors

    return RayActors(outcomes, job)
