"""Actors on the machines of a Ray cluster, each with models of its own.

Ray places the actors and reports those that died. Outcomes are cached on the machine that runs the
evaluation: an actor there serves the folder to all workers, so each outcome is stored as soon as it is
computed.
"""

from __future__ import annotations

import logging
import os
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from nodes.contract.evaluation import Job
from nodes.errors import ModelError, first_line
from nodes.lab.evaluation.outcomes import Cache, Outcomes
from nodes.lab.evaluation.workers import tasks
from nodes.lab.evaluation.workers.executor import Item, Result

try:
    import ray
    from ray.exceptions import ObjectLostError, OutOfMemoryError, RayActorError, RayTaskError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
except ImportError:
    raise ModelError("--cluster needs Ray: pip install 'spaceverse-testbed[cluster]'") from None

# A worker, its machine, or what it had returned is gone.
LOST = (RayActorError, ObjectLostError, OutOfMemoryError)
MOST_LOSSES = 3  # workers that may die with the same task, or before they take one
_SAY_AFTER_S = 30.0  # without any worker


class RayActors:
    """Workers on a Ray cluster.

    A worker that dies, or whose machine does, loses nothing: its task is done again by another one, and a
    replacement starts as soon as the cluster has room for it.

    Args:
        outcomes: Outcomes of both models.
        job: The job: address of the cluster, number of workers, and what each of them needs.

    Attributes:
        lost: Workers that died with a task so far.

    Raises:
        ModelError: The cluster cannot be reached, or has no room for a worker.
    """

    def __init__(self, outcomes: Outcomes, job: Job) -> None:
        _connect(job.cluster or "auto")
        cpus, gpus = float(job.options.model_threads or 1), _gpus(job)
        room = _room({"CPU": cpus, "GPU": gpus})
        if not room:
            ray.shutdown()
            raise ModelError(
                f"no machine of the cluster has {cpus:g} CPUs and {gpus:g} GPUs "
                "for a worker: use fewer --threads, or another --worker-gpus"
            )
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        serving: Any = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(_CacheServer)
        served = serving.options(scheduling_strategy=here).remote(outcomes.cache.folder)
        self._outcomes = outcomes.with_cache(_RemoteCache(outcomes.cache.folder, served))
        self._worker: Any = ray.remote(num_cpus=cpus, num_gpus=gpus)(_Worker)
        self._starting: dict[Any, Any] = {}  # what tells that it has started: actor
        self._idle: list[Any] = []
        self._failed_starts = 0
        self.lost = 0
        for _ in range(min(job.jobs or room, room)):
            self._start()

    def map(self, task: Callable[[Item], Result], items: Sequence[Item], /) -> Iterator[Result]:
        """Yield the results in the order of the items.

        Raises:
            ModelError: Workers cannot start, or several died with the same task.
        """
        waiting = deque(range(len(items)))
        running: dict[Any, tuple[Any, int]] = {}  # result to come: actor, number of the item
        done: dict[int, Result] = {}
        losses: Counter[int] = Counter()
        for number in range(len(items)):
            while number not in done:
                while waiting and self._idle:
                    actor, which = self._idle.pop(), waiting.popleft()
                    running[actor.run.remote(task, items[which])] = actor, which
                for ref in self._finished([*running, *self._starting]):
                    if ref in self._starting:
                        self._started(ref)
                        continue
                    actor, which = running.pop(ref)
                    try:
                        done[which] = _value(ref)
                        self._idle.append(actor)
                    except LOST as error:
                        losses[which] += 1
                        self.lost += 1
                        if losses[which] == MOST_LOSSES:
                            raise ModelError(
                                f"{MOST_LOSSES} workers died with the same task: {first_line(error)}"
                            ) from None
                        waiting.appendleft(which)
                        self._start()
            yield done.pop(number)

    def close(self) -> None:
        """End the actors, and leave the cluster."""
        ray.shutdown()  # ends what this process has started there

    def _start(self) -> None:
        """Begin to start an actor; Ray does so when a machine has room."""
        actor = self._worker.remote()
        self._starting[actor.begin.remote(self._outcomes, tasks.code_digest())] = actor

    def _started(self, ref: Any) -> None:
        actor = self._starting.pop(ref)
        try:
            _value(ref)
        except LOST as error:
            self._failed_starts += 1
            if self._failed_starts == MOST_LOSSES:
                raise ModelError(f"workers on the cluster do not start: {first_line(error)}") from None
            self._start()
        else:
            self._failed_starts = 0
            self._idle.append(actor)

    def _finished(self, refs: list[Any]) -> list[Any]:
        """Return at least one of some results to come that is there."""
        while True:
            ready, _ = ray.wait(refs, num_returns=1, timeout=_SAY_AFTER_S)
            if ready:
                return ready
            if len(refs) == len(self._starting):
                print("evaluation: no worker is left; waiting for a machine to join", file=sys.stderr)


def _value(ref: Any) -> Any:
    """Return a result; raise the error of a task as it was raised there."""
    try:
        return ray.get(ref)
    except RayTaskError as error:
        raise error.cause from None


def _connect(address: str) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if "://" in address:
        raise ModelError(
            f"{address}: give HOST:PORT, and start a node of the cluster on this machine: "
            "ray start --address=HOST:PORT"
        )
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ModelError(
            f"no Ray cluster at {address}: {first_line(error)}; start one: ray start --head (docs/cluster.md)"
        ) from None


def _gpus(job: Job) -> float:
    """Return the share of a GPU that a worker takes; by default a whole one if its models run there."""
    if job.worker_gpus is not None:
        return job.worker_gpus
    return 1.0 if job.options.kind == "cuda" else 0.0


def _room(needs: dict[str, float]) -> int:
    """Return how many workers the machines of the cluster carry."""
    of_nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return sum(
        min(int(node["Resources"].get(name, 0.0) // amount) for name, amount in needs.items() if amount)
        for node in of_nodes
        if node["Alive"]
    )


class _Worker:
    """An actor that holds models."""

    def begin(self, outcomes: Outcomes, code: str) -> None:
        tasks.begin_elsewhere(outcomes, code)

    def run(self, task: Callable[[Any], Any], item: Any) -> Any:
        return task(item)


class _CacheServer:
    """Serves the cache of the machine that the evaluation runs on."""

    def __init__(self, folder: Path) -> None:
        self._cache = Cache(folder)

    def get(self, key: str) -> Any:
        return self._cache.get(key)

    def put(self, key: str, value: Any) -> None:
        self._cache.put(key, value)


class _RemoteCache(Cache):
    """That cache as a worker sees it; what it has read or stored stays in its memory."""

    def __init__(self, folder: Path, server: Any) -> None:
        super().__init__(folder)
        self._server = server
        self._known: dict[str, Any] = {}

    def get(self, key: str) -> Any:
        value = self._known.get(key)
        if value is None:
            value = ray.get(self._server.get.remote(key))
            if value is not None:
                self._known[key] = value
        return value

    def put(self, key: str, value: Any) -> None:
        ray.get(self._server.put.remote(key, value))
        self._known[key] = value
