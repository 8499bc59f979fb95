"""Whether a node has something to do, and when its next own event is due.

It is told to the run, which skips idle time. The messages are in nodes/contract/messages.py.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

from nodes.contract import messages

LOOKS_MAX = 3  # while parts change during a look


class Idleness:
    """Asks the parts of a node when they have something to do, and tells the run what has changed.

    A part calls `changed` whenever it has something to do, and whenever that is done or due at another time:
    afterwards, so that its `due_s` tells already, and for a thing that ends at once as well.
    """

    def __init__(self) -> None:
        self._parts: list[Callable[[], float]] = []
        self._version = 0
        self._question: int | None = None
        self._changed = threading.Condition()
        self._stopping = False
        self._publish: Callable[[messages.Idleness], None] | None = None
        self._changes: Callable[[], int] = lambda: 0
        self._thread: threading.Thread | None = None

    def watch(self, due_s: Callable[[], float]) -> None:
        """Add a part of the node.

        Args:
            due_s: returns the scenario time at which the part has something to do: -inf now, inf never; from
                any thread, and without waiting.
        """
        self._parts.append(due_s)

    def changed(self) -> None:
        """Note an activity; from any thread, never blocks."""
        with self._changed:
            self._version += 1
            self._changed.notify_all()

    def tell(self, publish: Callable[[messages.Idleness], None], changes: Callable[[], int]) -> None:
        """Tell from now on, in a thread of its own; once, further calls have no effect.

        Args:
            publish: sends a message to the run.
            changes: returns how many changes of scenario time the node has heard of.
        """
        with self._changed:
            if self._thread is not None:
                return
            self._publish, self._changes = publish, changes
            self._thread = threading.Thread(target=self._run, name="idleness", daemon=True)
        self._thread.start()

    def ask(self, question: int) -> None:
        """Answer a question of the run; returns at once."""
        with self._changed:
            self._question = question
            self._changed.notify_all()

    def stop(self) -> None:
        """End the thread."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def look(self, question: int | None = None) -> messages.Idleness:
        """Return what the node has to do now."""
        for _ in range(LOOKS_MAX):
            version, changes = self._version, self._changes()
            due_s = min((part() for part in self._parts), default=math.inf)
            if version == self._version:
                break
        else:
            due_s = -math.inf
        return messages.Idleness(
            version=version,
            busy=due_s == -math.inf,
            next_s=due_s if math.isfinite(due_s) else None,
            changes=changes,
            answers=question,
        )

    def _run(self) -> None:
        told: messages.Idleness | None = None
        seen = -1
        while True:
            with self._changed:
                while not (self._stopping or self._question is not None or self._version != seen):
                    self._changed.wait()
                if self._stopping:
                    return
                question, self._question, seen = self._question, None, self._version
            message = self.look(question)
            if question is None and told is not None and _is_old(message, told):
                continue
            told = message
            assert self._publish is not None  # noqa: S101  # set before the thread starts
            self._publish(message)


def _is_old(message: messages.Idleness, told: messages.Idleness) -> bool:
    """Return whether the run knows this already: of a busy node it needs no version."""
    if message.busy and told.busy and message.changes == told.changes:
        return True
    return message == told.model_copy(update={"answers": None})
