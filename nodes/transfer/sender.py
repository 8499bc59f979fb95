"""The satellite's end of the transfer protocol, without a network: replies in, payloads out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from nodes.report import Report
from nodes.transfer.chunk_map import ChunkMap
from nodes.transfer.messages import (
    Chunk,
    Done,
    Have,
    Hello,
    Refused,
    Unknown,
    Upward,
    encode,
)
from nodes.transfer.outbox import Outbox, OutboxError, OutboxItem
from nodes.transfer.window import Window

ITEMS_AT_ONCE = 32  # how many items may be under way; keeps many small ones moving on a long path


@dataclass(frozen=True, slots=True)
class Sent:
    """One payload under way."""

    at_s: float
    size_bytes: int
    query: int
    order: int
    window_was_full: bool


@dataclass
class Progress:
    """What this process knows about one pending item."""

    item: OutboxItem
    have: ChunkMap
    ask: bool = True  # a manifest has to go out
    open: bool = True  # chunks may follow; False until the ground has said what it has
    query: int = 0
    cursor: int = 0
    under_way: dict[int, Sent] = field(default_factory=dict)
    manifest_under_way: Sent | None = None
    ever_sent: set[int] = field(default_factory=set)
    acknowledged_order: int = -1
    bytes_sent: int = 0
    chunks_sent: int = 0
    resent_chunks: int = 0
    last_sent_s: float | None = None

    def lose_under_way(self) -> None:
        """Forget what was in flight; the next manifest finds out what of it arrived."""
        self.under_way.clear()
        self.manifest_under_way = None
        self.cursor = 0
        self.ask = True
        if self.query:
            self.open = False

    def next_chunk(self) -> int | None:
        """Index of the first chunk that is neither there nor under way."""
        for index in range(self.cursor, self.item.manifest.chunks):
            if index not in self.have and index not in self.under_way:
                self.cursor = index
                return index
        self.cursor = self.item.manifest.chunks
        return None

    def bytes_under_way(self) -> int:
        """Payload bytes without an acknowledgement."""
        inline = self.manifest_under_way.size_bytes if self.manifest_under_way else 0
        return inline + sum(sent.size_bytes for sent in self.under_way.values())


class Sender:
    """Chooses what goes next, and learns from what the ground says. For one thread.

    Args:
        outbox: where items wait.
        window: how much may be under way.
        report: gets send_started, send_finished, delivered and send_refused.
    """

    def __init__(self, outbox: Outbox, window: Window, report: Report) -> None:
        self._outbox = outbox
        self._window = window
        self._report = report
        self._progress: dict[bytes, Progress] = {}
        self._last: Progress | None = None
        self._order = 0
        self._under_way_bytes = 0
        self._heard_s = 0.0
        self._silence_factor = 1
        # Items left by an earlier process may have been begun by it: ask before sending.
        self._begun_before = {item.manifest.item_id for item in outbox.pending(1 << 30)}

    def connected(self, rtt_s: float, now_s: float) -> None:
        """A new connection: whatever was under way is lost."""
        self._window.connected(rtt_s, now_s)
        self._ask_all(now_s)

    def next_payload(self, now_s: float) -> bytes | None:
        """What to hand to the socket now; None if there is nothing, or the window is full."""
        self._ask_after_silence(now_s)
        for item in self._outbox.pending(ITEMS_AT_ONCE):
            progress = self._progress_of(item)
            full = self._under_way_bytes >= self._window.limit_bytes
            if progress.ask and not (full and item.manifest.inline):
                return self._manifest(progress, now_s)
            if progress.open and not full:
                index = progress.next_chunk()
                if index is not None:
                    payload = self._chunk(progress, index, now_s)
                    if payload is not None:
                        return payload
        return None

    def handle(self, message: Upward, now_s: float) -> None:
        """Take what the ground said."""
        self._heard_s = now_s
        self._silence_factor = 1
        if isinstance(message, Hello):
            self._ask_all(now_s)
            return
        progress = self._progress.get(message.item_id)
        if progress is None:
            return
        match message:
            case Have():
                self._have(progress, message, now_s)
            case Done():
                self._done(progress, now_s)
            case Refused():
                self._refused(progress, message.reason)
            case Unknown():
                if progress.open:
                    progress.lose_under_way()
        self._under_way_bytes = sum(p.bytes_under_way() for p in self._progress.values())

    @property
    def idle(self) -> bool:
        """Whether the ground has everything."""
        return not self._outbox.pending(1)

    def _progress_of(self, item: OutboxItem) -> Progress:
        item_id = item.manifest.item_id
        progress = self._progress.get(item_id)
        if progress is None:
            progress = Progress(item, ChunkMap(item.manifest.chunks))
            progress.open = item_id not in self._begun_before
            self._progress[item_id] = progress
        return progress

    def _manifest(self, progress: Progress, now_s: float) -> bytes:
        if progress.query == 0:
            self._tell("send_started", progress, now_s, size_bytes=progress.item.manifest.size_bytes)
        progress.query += 1
        progress.ask = False
        payload = encode(replace(progress.item.manifest, query=progress.query))
        progress.manifest_under_way = self._note(progress, payload, now_s)
        if progress.item.manifest.inline and progress.query > 1:
            progress.resent_chunks += 1
        return payload

    def _chunk(self, progress: Progress, index: int, now_s: float) -> bytes | None:
        item = progress.item
        try:
            data = item.read_chunk(index)
        except OutboxError as error:
            self._refused(progress, str(error))
            return None
        payload = encode(Chunk(item.manifest.item_id, index * item.manifest.chunk_bytes, data))
        progress.under_way[index] = self._note(progress, payload, now_s)
        progress.chunks_sent += 1
        progress.resent_chunks += index in progress.ever_sent
        progress.ever_sent.add(index)
        return payload

    def _note(self, progress: Progress, payload: bytes, now_s: float) -> Sent:
        if self._under_way_bytes == 0:
            self._heard_s = now_s  # silence is measured from when there is something to be heard about
        self._order += 1
        self._under_way_bytes += len(payload)
        progress.bytes_sent += len(payload)
        self._last = progress
        full = self._under_way_bytes >= self._window.limit_bytes
        return Sent(now_s, len(payload), progress.query, self._order, full)

    def written(self, now_s: float) -> None:
        """The socket has taken the last payload whole."""
        if self._last is not None:
            self._last.last_sent_s = now_s
            self._last = None

    def _have(self, progress: Progress, message: Have, now_s: float) -> None:
        progress.have = ChunkMap.from_base(progress.have.count, message.base, message.bitmap)
        if progress.manifest_under_way and message.query >= progress.manifest_under_way.query:
            progress.manifest_under_way = None
        if message.query == progress.query:
            progress.open = True
        if progress.item.manifest.inline:
            progress.ask = True  # it arrived, and its sha256 did not match
        self._settle_chunks(progress, message.query, now_s)

    def _settle_chunks(self, progress: Progress, query: int, now_s: float) -> None:
        for index, sent in list(progress.under_way.items()):
            if index in progress.have:
                del progress.under_way[index]
                progress.acknowledged_order = max(progress.acknowledged_order, sent.order)
                self._window.acknowledged(sent.size_bytes, now_s - sent.at_s, sent.window_was_full, now_s)
        # A connection keeps order: what was sent before something that is there, and is not there, is lost.
        for index, sent in list(progress.under_way.items()):
            if sent.query < query or sent.order < progress.acknowledged_order:
                del progress.under_way[index]
        first = progress.have.first_missing()
        progress.cursor = min(progress.cursor, first)

    def _done(self, progress: Progress, now_s: float) -> None:
        manifest = progress.item.manifest
        for sent in progress.under_way.values():
            self._window.acknowledged(sent.size_bytes, now_s - sent.at_s, sent.window_was_full, now_s)
        self._outbox.release(progress.item)
        del self._progress[manifest.item_id]
        if progress.last_sent_s is not None:
            # Told late, when no more of it can be sent again, yet with the time at which it was true.
            self._tell(
                "send_finished",
                progress,
                progress.last_sent_s,
                bytes_sent=progress.bytes_sent,
                chunks=progress.chunks_sent,
                resent_chunks=progress.resent_chunks,
            )
        self._tell("delivered", progress, now_s)

    def _refused(self, progress: Progress, reason: str) -> None:
        self._outbox.refuse(progress.item)
        del self._progress[progress.item.manifest.item_id]
        self._tell("send_refused", progress, None, reason=reason)

    def _ask_all(self, now_s: float) -> None:
        for progress in self._progress.values():
            progress.lose_under_way()
        self._under_way_bytes = 0
        self._heard_s = now_s

    def _ask_after_silence(self, now_s: float) -> None:
        waiting = self._under_way_bytes > 0
        if waiting and now_s - self._heard_s > self._window.silence_s() * self._silence_factor:
            self._silence_factor = min(2 * self._silence_factor, 8)
            self._ask_all(now_s)

    def _tell(self, event: str, progress: Progress, at_s: float | None, **fields: object) -> None:
        manifest = progress.item.manifest
        self._report(event, monotonic_s=at_s, frame=manifest.frame, what=manifest.kind, **fields)
