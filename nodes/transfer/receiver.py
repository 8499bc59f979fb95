"""The ground's end of the transfer protocol, without a network: payloads in, replies out."""

from __future__ import annotations

from collections.abc import Callable

from nodes.report import Report
from nodes.transfer.inbox import Inbox, InboxItem
from nodes.transfer.messages import (
    Done,
    Have,
    MalformedError,
    Manifest,
    Refused,
    Unknown,
    Upward,
    decode_downward,
)

MAX_TRIES = 3


class Receiver:
    """Stores what arrives, and says what is still missing.

    Args:
        inbox: where items are kept.
        report: gets received_first, received, refused and malformed.
        on_complete: called once for each item that has become complete.
    """

    def __init__(self, inbox: Inbox, report: Report, on_complete: Callable[[InboxItem], None]) -> None:
        self._inbox = inbox
        self._report = report
        self._on_complete = on_complete
        self._queries: dict[tuple[str, bytes], int] = {}
        self._replies: dict[tuple[str, bytes], Upward] = {}
        self.malformed = 0
        self.duplicates = 0

    def handle(self, satellite: str, payload: bytes, arrived_s: float) -> None:
        """Take one payload that came from `satellite` at `arrived_s` (CLOCK_MONOTONIC)."""
        try:
            message = decode_downward(payload)
            known = self._inbox.find(satellite, message.item_id)
            if isinstance(message, Manifest):
                self._queries[satellite, message.item_id] = message.query
                self._manifest(satellite, message, known, arrived_s)
            elif known is None:
                self._replies[satellite, message.item_id] = Unknown(message.item_id)
            elif not known.complete and known.refused is None:
                if not self._guarded(known, lambda: known.write(message)):
                    self.duplicates += 1
                self._after_data(known, arrived_s)
            else:
                self.duplicates += 1
                self._answer(known)
        except MalformedError as error:
            self.malformed += 1
            self._report(
                "malformed", monotonic_s=arrived_s, sender=satellite, reason=str(error), count=self.malformed
            )

    def replies(self) -> list[tuple[str, Upward]]:
        """What to tell whom since the last call: one reply per item that was touched."""
        replies = [(satellite, reply) for (satellite, _), reply in self._replies.items()]
        self._replies.clear()
        return replies

    def _manifest(
        self, satellite: str, manifest: Manifest, known: InboxItem | None, arrived_s: float
    ) -> None:
        try:
            item = self._inbox.open(satellite, manifest)
        except OSError as error:
            self._refuse_unopened(satellite, manifest, f"cannot be stored: {error.strerror}", arrived_s)
            return
        if known is None:
            self._report("received_first", monotonic_s=arrived_s, frame=manifest.frame, what=manifest.kind)
        if item.complete or item.refused is not None:
            self.duplicates += known is not None
            self._answer(item)
        elif manifest.data is not None:
            self._after_data(item, arrived_s, manifest.data)
        else:
            self._after_data(item, arrived_s)

    def _after_data(self, item: InboxItem, arrived_s: float, inline: bytes | None = None) -> None:
        if inline is not None or (item.chunks.complete and not item.manifest.inline):
            sha256_ok = self._guarded(item, lambda: item.finish(inline))
            if item.refused is None:
                self._finished(item, sha256_ok, arrived_s)
        self._answer(item)

    def _finished(self, item: InboxItem, sha256_ok: bool, arrived_s: float) -> None:
        self._report(
            "received",
            monotonic_s=arrived_s,
            frame=item.manifest.frame,
            what=item.manifest.kind,
            size_bytes=item.manifest.size_bytes,
            sha256_ok=sha256_ok,
        )
        if sha256_ok:
            self._on_complete(item)
        elif item.failed_tries >= MAX_TRIES:
            self._refuse(item, f"sha256 did not match in {MAX_TRIES} tries", arrived_s)

    def _guarded(self, item: InboxItem, action: Callable[[], bool]) -> bool:
        """Do what writes to disk; an item that the disk cannot take is refused, not lost in silence."""
        try:
            return action()
        except MalformedError:
            raise
        except OSError as error:
            self._refuse(item, f"cannot be stored: {error.strerror}", None)
            return False

    def _refuse(self, item: InboxItem, reason: str, arrived_s: float | None) -> None:
        try:
            item.refuse(reason)
        except OSError:
            item.refused = reason
        self._report("refused", monotonic_s=arrived_s, frame=item.manifest.frame, reason=reason)

    def _refuse_unopened(self, satellite: str, manifest: Manifest, reason: str, arrived_s: float) -> None:
        self._report("refused", monotonic_s=arrived_s, frame=manifest.frame, reason=reason)
        self._replies[satellite, manifest.item_id] = Refused(manifest.item_id, reason)

    def _answer(self, item: InboxItem) -> None:
        key = item.satellite, item.manifest.item_id
        reply: Upward
        if item.refused is not None:
            reply = Refused(item.manifest.item_id, item.refused)
        elif item.complete:
            reply = Done(item.manifest.item_id)
        else:
            base, bitmap = item.chunks.from_first_missing()
            reply = Have(item.manifest.item_id, self._queries.get(key, 0), base, bitmap)
        self._replies[key] = reply
