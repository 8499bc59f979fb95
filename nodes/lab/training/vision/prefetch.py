"""Prefetching of batches by threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")


def prefetch(make: Callable[[int], Item], steps: Iterable[int], workers: int) -> Iterator[Item]:
    """Yield make(step) for each step in order, with up to `workers` steps in preparation.

    An exception of `make` is raised at its step.
    """
    remaining = iter(steps)
    with ThreadPoolExecutor(workers) as pool:
        pending: deque[Future[Item]] = deque(pool.submit(make, step) for step in islice(remaining, workers))
        try:
            while pending:
                done = pending.popleft().result()
                pending.extend(pool.submit(make, step) for step in islice(remaining, 1))
                yield done
        finally:
            for future in pending:
                future.cancel()
