"""Ground end of the transfer protocol, without a network: payloads in, replies out."""

from __future__ import annotations

import time
from collections.abc import Callable

from msgspec import UNSET

from nodes.contract.events import Expired, FrameRefused, HeartbeatReceived, InboxFull, Received, ReceivedFirst
from nodes.contract.report import Report, ScenarioTime, no_time
from nodes.transfer.files import NO_ROOM
from nodes.transfer.inbox import Inbox, InboxItem
from nodes.transfer.messages import (
    Chunk,
    Done,
    Have,
    Heartbeat,
    MalformedError,
    Manifest,
    Refused,
    Unknown,
    Upward,
    Wait,
    decode_downward,
    item_id,
)
from nodes.transfer.refusals import Refusals

MAX_TRIES = 3
FULL_TOLD_EVERY_S = 10.0


class Receiver:
    """Stores items as they arrive, and prepares the replies.

    Args:
        inbox: box that stores the items.
        report: receives received_first, received, refused, expired, inbox_full, heartbeat and malformed.
        on_complete: called once for each item that becomes complete.
        scenario_s: returns the scenario time, or None before it is known.
    """

    def __init__(
        self,
        inbox: Inbox,
        report: Report,
        on_complete: Callable[[InboxItem], None],
        scenario_s: ScenarioTime = no_time,
    ) -> None:
        self._inbox = inbox
        self._report = report
        self._on_complete = on_complete
        self._scenario_s = scenario_s
        self._replies: dict[tuple[str, bytes], Upward] = {}
        self._full_told_s = float("-inf")
        self.refusals = Refusals(report)
        self.duplicates = 0

    def handle(self, satellite: str, payload: bytes, arrived_s: float) -> None:
        """Handle one payload from `satellite`, which arrived at `arrived_s` (CLOCK_MONOTONIC)."""
        try:
            message = decode_downward(payload)
            match message:
                case Manifest():
                    self._manifest(satellite, message, arrived_s)
                case Chunk():
                    self._chunk(satellite, message, arrived_s)
                case Heartbeat():
                    self._heartbeat(satellite, message, arrived_s)
        except MalformedError as error:
            self.refusals.add(satellite, str(error))

    def replies(self) -> list[tuple[str, Upward]]:
        """Return (satellite, reply) for each item touched since the last call."""
        replies = [(satellite, reply) for (satellite, _), reply in self._replies.items()]
        self._replies.clear()
        return replies

    def _manifest(self, satellite: str, manifest: Manifest, arrived_s: float) -> None:
        if manifest.item_id != item_id(satellite, manifest.kind, manifest.frame, manifest.sha256):
            raise MalformedError("item id does not match satellite, frame and content")
        if not self._inbox.fits(manifest.size_bytes):
            self._refuse_unopened(satellite, manifest, "larger than the whole inbox", arrived_s)
            return
        try:
            item, new = self._inbox.open(satellite, manifest)
        except OSError as error:
            self._no_room(manifest, satellite, error, None)
            return
        item.query = manifest.query
        if new:
            self._report(ReceivedFirst(frame=manifest.frame, what=manifest.kind), monotonic_s=arrived_s)
        self._work_on(item, arrived_s, None, None if manifest.data is UNSET else manifest.data)

    def _chunk(self, satellite: str, chunk: Chunk, arrived_s: float) -> None:
        item = self._inbox.find(satellite, chunk.item_id)
        if item is None or (item.refused is None and self._inbox.was_dropped(item)):
            self._replies[satellite, chunk.item_id] = Unknown(chunk.item_id)
        else:
            self._work_on(item, arrived_s, chunk, None)

    def _heartbeat(self, satellite: str, heartbeat: Heartbeat, arrived_s: float) -> None:
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
                if item.complete or item.refused is not None:
                    self.duplicates += chunk is not None or item.query > 1
                elif not self._expired(item):
                    finished = self._store(item, arrived_s, chunk, inline)
        except OSError as error:
            self._no_room(item.manifest, item.satellite, error, item)
            return
        self._answer(item)
        if finished:
            self._on_complete(item)

    def _store(self, item: InboxItem, arrived_s: float, chunk: Chunk | None, inline: bytes | None) -> bool:
        """Store a chunk or an inline item; return whether the item has become complete."""
        if chunk is not None and not item.write(chunk):
            self.duplicates += 1
        if inline is None and (item.manifest.inline or not item.chunks.complete):
            return False
        sha256_ok = item.finish(inline)
        event = Received(
            frame=item.manifest.frame,
            what=item.manifest.kind,
            size_bytes=item.manifest.size_bytes,
            sha256_ok=sha256_ok,
        )
        self._report(event, monotonic_s=arrived_s)
        if not sha256_ok and item.failed_tries >= MAX_TRIES:
            reason = f"sha256 mismatch in {MAX_TRIES} attempts"
            item.refuse(reason)
            self._report(FrameRefused(frame=item.manifest.frame, reason=reason), monotonic_s=arrived_s)
        return sha256_ok

    def _expired(self, item: InboxItem) -> bool:
        manifest, time_s = item.manifest, self._scenario_s()
        if time_s is None or not manifest.has_expired(time_s):
            return False
        item.refuse("expired")
        self._report(Expired(frame=manifest.frame, what=manifest.kind, expires_s=manifest.deadline_s))
        return True

    def _no_room(self, manifest: Manifest, satellite: str, error: OSError, item: InboxItem | None) -> None:
        """Make space after a failed write, and ask the satellite to wait."""
        reason = f"cannot be stored: {error.strerror or error}"
        self._replies[satellite, manifest.item_id] = Wait(manifest.item_id, reason[:500])
        if time.monotonic() - self._full_told_s >= FULL_TOLD_EVERY_S:
            self._full_told_s = time.monotonic()
            self._report(InboxFull(frame=manifest.frame, what=manifest.kind, reason=reason))
        if item is not None:
            self._inbox.forget(item)  # the state on disk counts
        if error.errno in NO_ROOM:
            self._inbox.relieve(manifest.priority, reason, keep=item)

    def _refuse_unopened(self, satellite: str, manifest: Manifest, reason: str, arrived_s: float) -> None:
        self._report(FrameRefused(frame=manifest.frame, reason=reason), monotonic_s=arrived_s)
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
