"""A link that follows its trace only while a dish serves it."""

from __future__ import annotations

import threading

from testbed.network.link_state import DOWN_STATE, LinkState
from testbed.network.player import PlayedLink, States


class GatedLink:
    """A link that is down until its gate is open, whatever its trace says. Safe from several threads.

    Args:
        link: the link itself.
    """

    def __init__(self, link: PlayedLink) -> None:
        self.name = link.name
        self._link = link
        self._asked: States = (DOWN_STATE, DOWN_STATE)
        self._open = False
        self._lock = threading.Lock()

    @property
    def sky(self) -> None:
        """None: it is set by itself, since its gate may move at any moment."""

    @property
    def passes(self) -> States:
        """The states in force."""
        return self._asked if self._open else (DOWN_STATE, DOWN_STATE)

    def set(self, down: LinkState, up: LinkState) -> None:
        """Note what the trace asks for, and write it if the gate is open."""
        with self._lock:
            self._asked = down, up
            if self._open:
                self._link.set(down, up)

    def turn(self, *, is_open: bool) -> None:
        """Open or close the gate."""
        with self._lock:
            if is_open != self._open:
                before, self._open = self.passes, is_open
                if self.passes != before:
                    self._link.set(*self.passes)

    def check(self) -> None:
        """Raise ShaperDiedError if the link's shaper has ended."""
        self._link.check()
