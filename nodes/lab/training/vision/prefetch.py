"""Makes what the next steps need while this one computes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Made = TypeVar("Made")


def made_ahead(make: Callable[[int], Made], steps: Iterable[int], workers: int) -> Iterator[Made]:
    """Yield make(step) for each step in order; up to `workers` are in the making.

    What `make` raises is raised where its step's turn comes.
    """
    left = iter(steps)
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[Made]] = deque(pool.submit(make, step) for step in islice(left, workers))
        try:
            while waiting:
                done = waiting.popleft().result()
                waiting.extend(pool.submit(make, step) for step in islice(left, 1))
                yield done
        finally:
            for future in waiting:
                future.cancel()
