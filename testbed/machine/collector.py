"""Python's collector of reference cycles, kept from what a run gathers."""

from __future__ import annotations

import gc
from types import TracebackType


class SparedObjects:
    """Spares what is there, and what `look` finds later, from collections, until the block ends.

    A run holds a hundred thousand events. To look through them for cycles, of which they have none, takes
    tenths of a second, in which no link changes: seconds of scenario time where that runs ahead.
    """

    def __init__(self, every: int = 2000) -> None:
        self._every, self._spared = every, 0

    def __enter__(self) -> SparedObjects:
        gc.collect()
        gc.freeze()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        gc.unfreeze()

    def look(self, count: int) -> None:
        """Spare what is there now, if the count of events has grown enough since."""
        if count - self._spared >= self._every:
            self._spared = count
            gc.freeze()
