"""Jobs of Slurm, submitted by submitit, each of which computes a part of the tasks.

All machines must share the folders of the cache, of the models and of the data, as clusters with Slurm do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from nodes.contract.evaluation import SLURM_PLACES, Job
from nodes.errors import ModelError, NodeError, first_line
from nodes.lab.evaluation.outcomes import Outcomes
from nodes.lab.evaluation.workers import tasks
from nodes.lab.evaluation.workers.executor import Item, Result

try:
    import submitit
except ImportError:
    raise ModelError("--cluster slurm needs submitit: pip install 'spaceverse-testbed[cluster]'") from None

MOST_TRIES = 3  # of a part whose job ended without a result
POLL_S = 1.0
_LOGS = "slurm"  # in the job's output folder


class SlurmJobs:
    """Workers that are jobs of Slurm.

    Tasks are dealt to a fixed number of jobs. A job that ends without a result, for example because its
    machine failed, is submitted again; what it had computed is in the cache.

    Args:
        outcomes: Outcomes of both models.
        job: The job: number of Slurm jobs, and their parameters.

    Raises:
        ModelError: Slurm is not there, or a parameter is unknown.
    """

    def __init__(self, outcomes: Outcomes, job: Job) -> None:
        self._outcomes, self._count = outcomes, job.jobs or 1
        place = SLURM_PLACES[job.cluster or "slurm"]
        try:
            self._executor = submitit.AutoExecutor(job.output / _LOGS, cluster=place)
            self._executor.update_parameters(
                cpus_per_task=job.options.model_threads or 1,
                **{f"slurm_{name}": value for name, value in job.slurm.items()},
            )
        except (RuntimeError, NameError, TypeError) as error:
            raise ModelError(f"--cluster {job.cluster}: {first_line(error)}") from None
        self._jobs: list[Any] = []

    def map(self, task: Callable[[Item], Result], items: Sequence[Item], /) -> Iterator[Result]:
        """Yield the results in the order of the items.

        Raises:
            ModelError: A part ended without a result several times.
        """
        count = min(self._count, len(items))
        parts = [items[part::count] for part in range(count)]
        with self._executor.batch():
            jobs = [self._submit(task, part) for part in parts]
        self._jobs = jobs
        results = []
        for number, part in enumerate(parts):
            results.append(self._result(jobs, number, task, part))
        for number in range(len(items)):
            yield results[number % count][number // count]

    def close(self) -> None:
        """Cancel what still runs."""
        for job in self._jobs:
            if not job.done():
                job.cancel()

    def _submit(self, task: Callable[[Item], Result], part: Sequence[Item]) -> Any:
        return self._executor.submit(_run_part, self._outcomes, tasks.code_digest(), task, part)

    def _result(
        self, jobs: list[Any], number: int, task: Callable[[Item], Result], part: Sequence[Item]
    ) -> list[Result]:
        """Return the results of a part, and submit it again when its job was lost."""
        for tries_left in reversed(range(MOST_TRIES)):
            while not jobs[number].done():
                time.sleep(POLL_S)
            try:
                outcome: list[Result] | NodeError = jobs[number].result()
            except submitit.core.utils.UncompletedJobError as error:
                if not tries_left:
                    raise ModelError(f"a Slurm job ended {MOST_TRIES} times: {first_line(error)}") from None
                jobs[number] = self._submit(task, part)
                continue
            if isinstance(outcome, NodeError):
                raise outcome
            return outcome
        raise AssertionError("unreachable")


def _run_part(
    outcomes: Outcomes, code: str, task: Callable[[Item], Result], part: Sequence[Item]
) -> list[Result] | NodeError:
    """Compute a part, in a Slurm job; an error of the tasks is returned, which keeps its class and text."""
    try:
        tasks.begin_elsewhere(outcomes, code)
        return [task(item) for item in part]
    except NodeError as error:
        return error
