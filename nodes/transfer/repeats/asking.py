"""The station's end: asks satellites for items whose bytes the inbox has lost."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from nodes.contract.events import FrameRefused
from nodes.contract.report import Report
from nodes.transfer.inbox import Inbox, InboxItem
from nodes.transfer.messages import Again, Coming, Gone

LOOK_S = 0.5
ASKED_AT_ONCE = 20
AGAIN_S = 2.0  # to a satellite that was heard since the last request
AGAIN_AWAY_S = 10.0  # to one that was not: it may be out of contact
PROMISED_S = 30.0  # to one that has said that the item is coming
UNHEEDED_MAX = 30  # requests, each followed by other messages of the satellite: it does not know them


@dataclass
class _Asked:
    """Requests for one item."""

    last_s: float = float("-inf")
    unheeded: int = 0


class Asking:
    """Requests for the items that an inbox misses. Not thread-safe.

    Args:
        inbox: box of the items.
        report: receives refused, for each frame whose satellite cannot send it again.
    """

    def __init__(self, inbox: Inbox, report: Report) -> None:
        self._inbox = inbox
        self._report = report
        self._asked: dict[Path, _Asked] = {}
        self._heard_s: dict[str, float] = {}
        self._look_s = float("-inf")

    def heard(self, satellite: str, now_s: float) -> None:
        """Note that a satellite has sent something (CLOCK_MONOTONIC)."""
        if self._inbox.missed:
            self._heard_s[satellite] = now_s

    def due(self, now_s: float) -> list[tuple[str, Again]]:
        """Return (satellite, request) for each item that is to be asked for now; call it often."""
        if not self._inbox.missed or now_s - self._look_s < LOOK_S:
            return []
        self._look_s = now_s
        self._asked = {folder: asked for folder, asked in self._asked.items() if folder in self._inbox.missed}
        requests: list[tuple[str, Again]] = []
        for folder, (item, problem) in list(self._inbox.missed.items()):
            asked = self._asked.setdefault(folder, _Asked())
            heard = self._heard_s.get(item.satellite, float("-inf")) > asked.last_s > float("-inf")
            if now_s < asked.last_s + (AGAIN_S if heard else AGAIN_AWAY_S) or not self._is_missed(item):
                continue
            if len(requests) == ASKED_AT_ONCE:
                break
            asked.unheeded += heard
            if asked.unheeded > UNHEEDED_MAX:
                self._give_up(item, f"{problem}; the satellite does not answer requests for it")
                continue
            asked.last_s = now_s
            requests.append((item.satellite, Again(item.manifest.item_id, item.manifest.sha256)))
        return requests

    def _is_missed(self, item: InboxItem) -> bool:
        """Return whether an item is still to be asked for; if not, it is coming, or was settled."""
        if item.is_missed:
            return True
        if item.folder.exists():
            self._forget(item.folder)
        else:  # removed by somebody else, and so is the note that it is owed
            with contextlib.suppress(OSError):
                self._inbox.miss(item)
        return False

    def reply(self, satellite: str, message: Coming | Gone, now_s: float) -> None:
        """Take a satellite's reply; one that nobody waits for is ignored."""
        for folder, (item, problem) in list(self._inbox.missed.items()):
            if (item.satellite, item.manifest.item_id) != (satellite, message.item_id):
                continue
            if isinstance(message, Gone):
                self._give_up(item, f"{problem}; {message.reason}")
            elif folder in self._asked:
                self._asked[folder] = _Asked(last_s=now_s + PROMISED_S)
            return

    def _give_up(self, item: InboxItem, reason: str) -> None:
        """Report an item as lost, and refuse it; told before, so that a crash cannot keep it quiet."""
        try:
            with item.locked():
                if item.is_missed:
                    refused = FrameRefused(frame=item.manifest.frame, reason=reason)
                    self._report(refused.sent_from(item.satellite))
                    item.refuse(reason)
        except OSError:
            return  # it is asked for again
        finally:
            item.close()
        self._forget(item.folder)

    def _forget(self, folder: Path) -> None:
        self._inbox.missed.pop(folder, None)
        self._asked.pop(folder, None)
