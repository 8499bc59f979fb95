"""Ground end of the transfer protocol, without a network: payloads in, replies out."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection

from msgspec import UNSET

from nodes.contract.events import (
    Event,
    Expired,
    FrameEvent,
    FrameRefused,
    HeartbeatReceived,
    InboxFull,
    InboxTrouble,
    Received,
    ReceivedFirst,
)
from nodes.contract.files import NO_ROOM
from nodes.contract.report import Report, ScenarioTime, no_time
from nodes.transfer.inbox import Inbox, InboxItem
from nodes.transfer.inbox_item import GoneError
from nodes.transfer.messages import (
    INLINE_LIMIT_BYTES,
    Chunk,
    Coming,
    Done,
    Gone,
    Have,
    Heartbeat,
    Kind,
    MalformedError,
    Manifest,
    Refused,
    Unknown,
    Upward,
    Wait,
    decode_downward,
    item_id,
)
from nodes.transfer.pieces.held import fill
from nodes.transfer.repeats.asking import Asking
from nodes.transfer.senders.limits import (
    HEARTBEATS_PER_S,
    NEW_ITEMS_PER_S,
    PAYLOAD_MAX_BYTES,
    WAITS_PER_S,
    Limits,
)
from nodes.transfer.senders.refusals import Refusals

MAX_TRIES = 3
FULL_TOLD_EVERY_S = 10.0
FULL_TOLD_MAX = 1000  # items whose last report is remembered
OTHER_MESSAGE = "the ground has another message of this frame"


class Receiver:
    """Stores items as they arrive, and prepares the replies.

    Args:
        inbox: box that stores the items.
        report: receives received_first, received, refused, expired, inbox_full, inbox_trouble, heartbeat and
            malformed.
        on_complete: called once for each item that becomes complete.
        scenario_s: returns the scenario time, or None before it is known.
        kinds: of items that are taken; at a satellite, tasks.

    Attributes:
        on_part: called with each item of which something has come.
    """

    def __init__(
        self,
        inbox: Inbox,
        report: Report,
        on_complete: Callable[[InboxItem], None],
        scenario_s: ScenarioTime = no_time,
        kinds: Collection[Kind] = ("answer", "image"),
    ) -> None:
        self._kinds = kinds
        self.on_part: Callable[[InboxItem], None] | None = None
        self._inbox = inbox
        self._report = report
        self._on_complete = on_complete
        self._scenario_s = scenario_s
        self._replies: dict[tuple[str, bytes], Upward] = {}
        self._full_told_s: dict[tuple[str, bytes], float] = {}
        self._limits = Limits()
        self._asking = Asking(inbox, report)
        self.refusals = Refusals(report)
        self.duplicates = 0

    def handle(self, satellite: str, payload: bytes, arrived_s: float) -> None:
        """Handle one payload from `satellite`, which arrived at `arrived_s` (CLOCK_MONOTONIC)."""
        try:
            if len(payload) > PAYLOAD_MAX_BYTES:
                raise MalformedError(f"{len(payload)} bytes; at most {PAYLOAD_MAX_BYTES} are allowed")
            message = decode_downward(payload)
            self._asking.heard(satellite, time.monotonic())
            match message:
                case Manifest():
                    self._manifest(satellite, message, arrived_s)
                case Chunk():
                    self._chunk(satellite, message, arrived_s)
                case Heartbeat():
                    self._heartbeat(satellite, message, arrived_s)
                case Coming() | Gone():
                    self._asking.reply(satellite, message, time.monotonic())
        except MalformedError as error:
            self.refusals.add(satellite, str(error))

    def replies(self) -> list[tuple[str, Upward]]:
        """Return (satellite, reply) for each item touched since the last call, and requests that are due."""
        replies: list[tuple[str, Upward]] = [
            (satellite, reply) for (satellite, _), reply in self._replies.items()
        ]
        self._replies.clear()
        replies += self._asking.due(time.monotonic())
        return replies

    def _manifest(self, satellite: str, manifest: Manifest, arrived_s: float) -> None:
        if manifest.item_id != item_id(satellite, manifest.kind, manifest.frame, manifest.sha256):
            raise MalformedError("item id does not match satellite, frame and content")
        if manifest.kind not in self._kinds:
            raise MalformedError(f"items of kind {manifest.kind!r} are not for this end")
        if manifest.kind == "answer" and not manifest.inline:
            raise MalformedError(
                f"answer of {manifest.size_bytes} bytes; at most {INLINE_LIMIT_BYTES} are allowed"
            )
        if not self._inbox.fits(manifest.size_bytes):
            self._refuse_unopened(satellite, manifest, "larger than the whole inbox")
            return
        try:
            item, new = self._opened(satellite, manifest)
        except OSError as error:
            self._no_room(manifest, satellite, error, None)
            return
        item.query = manifest.query
        if new:
            first = ReceivedFirst(frame=manifest.frame, what=manifest.kind, satellite=satellite)
            self._report(first, monotonic_s=arrived_s)
        self._work_on(item, arrived_s, None, None if manifest.data is UNSET else manifest.data)

    def _opened(self, satellite: str, manifest: Manifest) -> tuple[InboxItem, bool]:
        """Return (item, whether it is new); a new one counts against its satellite's limit."""
        known = self._inbox.find(satellite, manifest.item_id)
        if known is not None:
            return self._inbox.open(satellite, manifest)
        if not self._limits.of(satellite).new_items.take(time.monotonic()):
            raise BlockingIOError(f"more than {NEW_ITEMS_PER_S:g} new items a second")
        return self._inbox.open(satellite, manifest)

    def _chunk(self, satellite: str, chunk: Chunk, arrived_s: float) -> None:
        try:
            item = self._inbox.find(satellite, chunk.item_id)
            unknown = item is None or (item.refused is None and self._inbox.was_dropped(item))
        except OSError as error:
            self._replies[satellite, chunk.item_id] = Wait(chunk.item_id, _not_now(error))
            return
        if item is None or unknown:
            self._replies[satellite, chunk.item_id] = Unknown(chunk.item_id)
        else:
            self._work_on(item, arrived_s, chunk, None)

    def _heartbeat(self, satellite: str, heartbeat: Heartbeat, arrived_s: float) -> None:
        if not self._limits.of(satellite).heartbeats.take(time.monotonic()):
            raise MalformedError(f"more than {HEARTBEATS_PER_S:g} heartbeats a second")
        event = HeartbeatReceived(
            satellite=satellite,
            # Valid if both ends share one clock; otherwise wrong by the offset of the clocks.
            delay_s=arrived_s - heartbeat.monotonic_s,
            sent_s=heartbeat.time_s,
            pending=heartbeat.pending,
            pending_bytes=heartbeat.pending_bytes,
            contacts=heartbeat.contacts,
        )
        self._report(event, monotonic_s=arrived_s)

    def _work_on(self, item: InboxItem, arrived_s: float, chunk: Chunk | None, inline: bytes | None) -> None:
        """Store what arrived for an item, finish a complete one, and prepare the reply."""
        finished = False
        try:
            with item.locked():
                self._reopen_if_damaged(item)
                if item.complete or item.refused is not None:
                    self.duplicates += chunk is not None or item.query > 1
                elif not self._expired(item):
                    finished = self._store(item, arrived_s, chunk, inline)
        except GoneError as error:
            self._start_again(item, error)
            return
        except OSError as error:
            self._no_room(item.manifest, item.satellite, error, item)
            return
        self._answer(item)
        if self.on_part is not None:
            self.on_part(item)
        if finished:
            self._inbox.finished(item)
            self._on_complete(item)

    def _reopen_if_damaged(self, item: InboxItem) -> None:
        """Prepare to receive a complete item again if its bytes were removed or cut since."""
        problem = item.lost() if item.complete else None
        if problem is not None:
            item.reopen()
            reason = f"{problem}; requested again"
            self._trouble(item.satellite, InboxTrouble(frame=item.manifest.frame, reason=reason))

    def _start_again(self, item: InboxItem, error: GoneError) -> None:
        """Forget an item whose folder was removed, and request its manifest."""
        self._inbox.forget(item)
        self._replies[item.satellite, item.manifest.item_id] = Unknown(item.manifest.item_id)
        reason = f"{item.folder} {error.strerror}"
        self._trouble(item.satellite, InboxTrouble(frame=item.manifest.frame, reason=reason))

    def _store(self, item: InboxItem, arrived_s: float, chunk: Chunk | None, inline: bytes | None) -> bool:
        """Store a chunk or an inline item; return whether the item has become complete."""
        if chunk is None and inline is None:
            fill(item)
        if chunk is not None and not item.write(chunk):
            self.duplicates += 1
        if inline is None and (item.manifest.inline or not item.chunks.complete):
            return False
        if not item.claim_frame():
            item.refuse(OTHER_MESSAGE)
            self._inbox.finished(item)
            return False
        sha256_ok = item.finish(inline)
        event = Received(
            frame=item.manifest.frame,
            what=item.manifest.kind,
            size_bytes=item.manifest.size_bytes,
            sha256_ok=sha256_ok,
            satellite=item.satellite,
        )
        self._report(event, monotonic_s=arrived_s)
        if not sha256_ok and item.failed_tries >= MAX_TRIES:
            reason = f"sha256 mismatch in {MAX_TRIES} attempts"
            item.refuse(reason)
            self._inbox.finished(item)
            self._trouble(item.satellite, FrameRefused(frame=item.manifest.frame, reason=reason))
        return sha256_ok

    def _expired(self, item: InboxItem) -> bool:
        manifest, time_s = item.manifest, self._scenario_s()
        if time_s is None or not manifest.has_expired(time_s):
            return False
        item.refuse("expired")
        self._inbox.finished(item)
        event = Expired(frame=manifest.frame, what=manifest.kind, expires_s=manifest.deadline_s)
        self._report(event.sent_from(item.satellite))
        return True

    def _no_room(self, manifest: Manifest, satellite: str, error: OSError, item: InboxItem | None) -> None:
        """Make space after a failed write, and ask the satellite to wait."""
        reason = _not_now(error)
        key = satellite, manifest.item_id
        now_s = time.monotonic()
        if not self._limits.of(satellite).waits.take(now_s):
            raise MalformedError(f"more than {WAITS_PER_S:g} items a second that cannot be stored")
        self._replies[key] = Wait(manifest.item_id, reason)
        if now_s - self._full_told_s.get(key, float("-inf")) >= FULL_TOLD_EVERY_S:
            if len(self._full_told_s) >= FULL_TOLD_MAX:
                self._full_told_s.clear()
            self._full_told_s[key] = now_s
            self._trouble(satellite, InboxFull(frame=manifest.frame, what=manifest.kind, reason=reason))
        if item is not None:
            self._inbox.forget(item)  # the state on disk counts
        if error.errno in NO_ROOM:
            with contextlib.suppress(OSError):  # an inbox that cannot be read now: the next offer tries again
                self._inbox.relieve(manifest.priority, reason, keep=item)

    def _trouble(self, satellite: str, event: Event) -> None:
        """Report what a satellite's message caused, unless it causes a flood of reports."""
        if self._limits.of(satellite).troubles.take(time.monotonic()):
            self._report(event.sent_from(satellite) if isinstance(event, FrameEvent) else event)
        else:
            self.refusals.add(satellite, "too many items that cannot be stored or are refused")

    def _refuse_unopened(self, satellite: str, manifest: Manifest, reason: str) -> None:
        self._trouble(satellite, FrameRefused(frame=manifest.frame, reason=reason))
        self._replies[satellite, manifest.item_id] = Refused(manifest.item_id, reason)

    def _answer(self, item: InboxItem) -> None:
        reply: Upward
        if item.refused is not None:
            reply = Refused(item.manifest.item_id, item.refused[:500])
        elif item.complete:
            reply = Done(item.manifest.item_id)
        else:
            base, bitmap = item.chunks.from_first_missing()
            reply = Have(item.manifest.item_id, item.query, base, bitmap)
        self._replies[item.satellite, item.manifest.item_id] = reply


def _not_now(error: OSError) -> str:
    return f"cannot be stored: {error.strerror or error}"[:500]
