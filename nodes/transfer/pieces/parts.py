"""Messages of which a contact's end has left the first pieces on the ground, and that are answered from them.

The first pieces of a message are a message (nodes/regions/payload.py): the overview, and the most relevant
regions. A station with a limit to its patience takes them for the whole message once nothing more has come
for so long. The file `cut` beside the manifest then holds that of the shorter message. When the satellite
offers the rest, the reply is that the item is complete.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from pathlib import Path

from msgspec import UNSET

from nodes.contract.events import Received
from nodes.contract.report import Report, ScenarioTime
from nodes.transfer.inbox import Inbox
from nodes.transfer.inbox_item import InboxItem


class Parts:
    """The unfinished messages of one station; `heard` and `cut` may be called in different threads.

    Args:
        inbox: the inbox.
        patience_s: scenario seconds without a piece, after which a message is taken as it is.
        report: receives `received`.
        scenario_s: returns the scenario time, or None before it is known.

    Attributes:
        on_change: called when `next_cut_s` has changed.
    """

    def __init__(self, inbox: Inbox, patience_s: float, report: Report, scenario_s: ScenarioTime) -> None:
        self._inbox = inbox
        self._patience_s = patience_s
        self._report = report
        self._scenario_s = scenario_s
        self._heard_s: dict[Path, float] = {}  # by the item's folder
        self._has_looked = False
        self.on_change: Callable[[], None] = lambda: None

    def heard(self, item: InboxItem) -> None:
        """Note that something of an item has come."""
        time_s = self._scenario_s()
        if item.manifest.pieces is UNSET or time_s is None:
            return
        if item.complete or item.refused is not None:
            self._heard_s.pop(item.folder, None)
        else:
            self._heard_s[item.folder] = time_s
        self.on_change()

    def next_cut_s(self) -> float:
        """Return the scenario time at which a message may have to be taken as it is; inf if never."""
        return min(list(self._heard_s.values()), default=math.inf) + self._patience_s

    def cut(self) -> None:
        """Take what is there of each message of which nothing has come for too long.

        Raises:
            OSError: the inbox cannot be read now.
        """
        time_s = self._scenario_s()
        if time_s is None:
            return
        if not self._has_looked:  # an earlier program may have left some
            for folder in self._inbox.unfinished():
                self._heard_s.setdefault(folder, time_s)
            self._has_looked = True
        for folder, heard_s in list(self._heard_s.items()):
            if time_s - heard_s >= self._patience_s:
                self._cut(folder)
                self._heard_s.pop(folder, None)
                self.on_change()

    def _cut(self, folder: Path) -> None:
        item = self._inbox.look_up(folder)
        if item is None or item.manifest.pieces is UNSET:
            return
        with contextlib.closing(item), item.locked():
            if item.complete or item.refused is not None or not item.cut():
                return
        event = Received(
            frame=item.manifest.frame,
            what=item.manifest.kind,
            size_bytes=item.manifest.size_bytes,
            sha256_ok=True,
            is_cut=True,
            satellite=item.satellite,
        )
        self._report(event)
