"""The satellite's end of the transfer protocol, without a network: replies in, payloads out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from msgspec.structs import replace

from nodes.contract.events import Delivered, SendFinished, SendRefused, SendStarted, SendWaits
from nodes.contract.report import Report
from nodes.transfer.chunk_map import ChunkMap
from nodes.transfer.messages import (
    Chunk,
    Done,
    Have,
    Hello,
    Refused,
    Unknown,
    Upward,
    Wait,
    encode,
)
from nodes.transfer.outbox import Outbox, OutboxError, OutboxItem
from nodes.transfer.window import Window

ITEMS_AT_ONCE = 32  # how many items may be under way; keeps many small ones moving on a long path
WAIT_S = 2.0  # until an item for which the ground had no room is offered again


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
    begun: bool  # something of it was sent, by this process or an earlier one
    open: bool  # any chunk may follow; False until the ground has said what it has
    ask: bool = True  # a manifest has to go out
    fresh: bool = False  # chunks that were never sent may follow, though the ground has not said
    query: int = 0
    cursor: int = 0
    not_before_s: float = 0.0
    under_way: dict[int, Sent] = field(default_factory=dict)
    manifest_under_way: Sent | None = None
    acknowledged_order: int = -1
    bytes_sent: int = 0
    chunks_sent: int = 0
    resent_chunks: int = 0
    last_sent_s: float | None = None

    def __post_init__(self) -> None:
        self.ever_sent = ChunkMap(self.have.count)

    def lose_under_way(self, *, go_on: bool = False) -> None:
        """Forget what was in flight; the next manifest finds out what of it arrived.

        Args:
            go_on: what was never sent need not wait for that.
        """
        self.under_way.clear()
        self.manifest_under_way = None
        self.cursor = 0
        self.ask = True
        if self.query:
            self.open = False
            self.fresh = go_on

    def next_chunk(self) -> int | None:
        """Return the index of the next chunk to send, or None."""
        if not self.open:
            index = self.ever_sent.first_missing()
            return index if self.fresh and index < self.have.count else None
        for index in range(self.cursor, self.have.count):
            if index not in self.have and index not in self.under_way:
                self.cursor = index
                return index
        self.cursor = self.have.count
        return None

    def bytes_under_way(self) -> int:
        """Payload bytes without an acknowledgement."""
        inline = self.manifest_under_way.size_bytes if self.manifest_under_way else 0
        return inline + sum(sent.size_bytes for sent in self.under_way.values())

    def bytes_to_go(self) -> int:
        """Bytes that the ground does not have, nearly."""
        manifest = self.item.manifest
        return manifest.size_bytes - self.have.present * manifest.chunk_bytes


class Sender:
    """Chooses what goes next by one connection, and learns from what the ground says. For one thread.

    Args:
        outbox: where items wait.
        window: how much may be under way.
        report: gets send_started, send_finished, delivered, send_refused and send_waits.
        express: whether it sends what is urgent, or the rest; None for both.
    """

    def __init__(
        self, outbox: Outbox, window: Window, report: Report, *, express: bool | None = None
    ) -> None:
        self._outbox = outbox
        self._window = window
        self._report = report
        self._express = express
        self._progress: dict[bytes, Progress] = {}
        self._last: Progress | None = None
        self._order = 0
        self._under_way_bytes = 0
        self._heard_s = 0.0
        self._connected_s = 0.0
        self._silences = 0
        self.contact_ends_s: float | None = None  # CLOCK_MONOTONIC, if somebody has told

    def connected(self, rtt_s: float, now_s: float, *, go_on: bool = True) -> None:
        """Start on a new connection: all payloads under way are lost.

        Args:
            rtt_s: its round-trip time.
            now_s: CLOCK_MONOTONIC.
            go_on: whether chunks that were never sent may follow the first manifest at once. It saves a
                round trip, and would cost a second window if the ground program were not there.
        """
        self._window.connected(rtt_s, now_s)
        self._connected_s = now_s
        self._silences = 0
        self._ask_all(now_s, go_on=go_on)

    def next_payload(self, now_s: float) -> bytes | None:
        """Return the next payload for the socket; None if there is none or the window is full."""
        self._ask_after_silence(now_s)
        full = self._under_way_bytes >= self._window.limit_bytes
        for progress in self._in_turn(now_s):
            if progress.ask and not (full and progress.item.manifest.inline):
                return self._manifest(progress, now_s)
            if not full:
                index = progress.next_chunk()
                if index is not None:
                    payload = self._chunk(progress, index, now_s)
                    if payload is not None:
                        return payload
        return None

    def handle(self, message: Upward, now_s: float) -> None:
        """Take what the ground said; replies about another connection's items are none of ours."""
        if isinstance(message, Hello):
            self._heard(now_s)
            self._ask_all(now_s)
            return
        progress = self._progress.get(message.item_id)
        if progress is None:
            return
        self._heard(now_s)
        match message:
            case Have():
                self._have(progress, message, now_s)
            case Done():
                self._done(progress, now_s)
            case Refused():
                self._refused(progress, message.reason)
            case Wait():
                self._wait(progress, message.reason, now_s)
            case Unknown():
                if progress.open or progress.fresh:
                    progress.lose_under_way()
        self._under_way_bytes = sum(p.bytes_under_way() for p in self._progress.values())

    def forget_settled(self) -> None:
        """Drop what is known of items that have left the outbox by another way: dropped, expired."""
        there = {item.manifest.item_id for item in self._outbox.pending(1 << 30)}
        for item_id in self._progress.keys() - there:
            del self._progress[item_id]
        self._under_way_bytes = sum(p.bytes_under_way() for p in self._progress.values())

    @property
    def idle(self) -> bool:
        """Whether the ground has everything."""
        return not self._outbox.pending(1, express=self._express)

    @property
    def sent_bytes(self) -> int:
        """Of what is pending: bytes that the ground has or that are under way, nearly."""
        done = (
            (p.item.manifest.size_bytes, p.have.present * p.item.manifest.chunk_bytes + p.bytes_under_way())
            for p in self._progress.values()
        )
        return sum(min(size_bytes, sent_bytes) for size_bytes, sent_bytes in done)

    @property
    def silences(self) -> int:
        """How often in a row the ground has been asked in vain."""
        return self._silences

    def _heard(self, now_s: float) -> None:
        self._heard_s = now_s
        self._silences = 0

    def _in_turn(self, now_s: float) -> Iterator[Progress]:
        """Items in the order in which they go.

        When the end of the contact is known, what cannot finish before it is left unstarted, unless it
        could not have finished in the whole of this contact: then no contact like it would be enough, and
        it goes when nothing else is left.
        """
        if self.contact_ends_s is None:
            for item in self._outbox.pending(ITEMS_AT_ONCE, express=self._express):
                progress = self._progress_of(item)
                if now_s >= progress.not_before_s:
                    yield progress
            return
        rate_byte_s = self._window.rate_byte_s
        contact_bytes = rate_byte_s * (self.contact_ends_s - self._connected_s)
        left_bytes = rate_byte_s * (self.contact_ends_s - now_s - self._window.rtt_s)
        oversized, at_once = [], 0
        for item in self._outbox.pending(1 << 30, express=self._express):
            progress = self._progress_of(item)
            if now_s < progress.not_before_s:
                continue
            to_go = progress.bytes_to_go()
            if progress.begun or to_go <= left_bytes:
                left_bytes -= to_go
                yield progress
                at_once += 1
                if at_once == ITEMS_AT_ONCE:
                    return
            elif to_go > contact_bytes:
                oversized.append(progress)
        yield from oversized

    def _progress_of(self, item: OutboxItem) -> Progress:
        manifest = item.manifest
        progress = self._progress.get(manifest.item_id)
        if progress is None:
            before = item.begun  # by an earlier process: ask before sending
            progress = Progress(item, ChunkMap(manifest.chunks), begun=before, open=not before)
            self._progress[manifest.item_id] = progress
        return progress

    def _manifest(self, progress: Progress, now_s: float) -> bytes:
        if progress.query == 0:
            manifest = progress.item.manifest
            started = SendStarted(frame=manifest.frame, what=manifest.kind, size_bytes=manifest.size_bytes)
            self._report(started, monotonic_s=now_s)
        if not progress.begun:
            progress.begun = True
            progress.item.mark_begun()
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
        progress.resent_chunks += not progress.ever_sent.add(index)
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
        """Note that the socket has taken the whole of the last payload."""
        if self._last is not None:
            self._last.last_sent_s = now_s
            self._last = None

    def _have(self, progress: Progress, message: Have, now_s: float) -> None:
        if message.query != progress.query and not progress.open:
            return  # said before the cut; the reply to the question after it is on its way
        progress.have = ChunkMap.from_base(progress.have.count, message.base, message.bitmap)
        if progress.manifest_under_way and message.query >= progress.manifest_under_way.query:
            progress.manifest_under_way = None
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
        for sent in progress.under_way.values():
            self._window.acknowledged(sent.size_bytes, now_s - sent.at_s, sent.window_was_full, now_s)
        manifest = progress.item.manifest
        here = self._outbox.release(progress.item)
        del self._progress[manifest.item_id]
        if not here:
            return
        if progress.last_sent_s is not None:
            # Told late, when no more of it can be sent again, yet with the time at which it was true.
            finished = SendFinished(
                frame=manifest.frame,
                what=manifest.kind,
                bytes_sent=progress.bytes_sent,
                chunks=progress.chunks_sent,
                resent_chunks=progress.resent_chunks,
            )
            self._report(finished, monotonic_s=progress.last_sent_s)
        self._report(Delivered(frame=manifest.frame, what=manifest.kind), monotonic_s=now_s)

    def _refused(self, progress: Progress, reason: str) -> None:
        manifest = progress.item.manifest
        here = self._outbox.refuse(progress.item)
        del self._progress[manifest.item_id]
        if here:
            self._report(SendRefused(frame=manifest.frame, what=manifest.kind, reason=reason))

    def _wait(self, progress: Progress, reason: str, now_s: float) -> None:
        if now_s >= progress.not_before_s:
            manifest = progress.item.manifest
            waits = SendWaits(frame=manifest.frame, what=manifest.kind, reason=reason)
            self._report(waits, monotonic_s=now_s)
        progress.not_before_s = now_s + WAIT_S
        progress.lose_under_way()

    def _ask_all(self, now_s: float, *, go_on: bool = False) -> None:
        for progress in self._progress.values():
            progress.lose_under_way(go_on=go_on)
        self._under_way_bytes = 0
        self._heard_s = now_s

    def _ask_after_silence(self, now_s: float) -> None:
        waiting = self._under_way_bytes > 0
        if waiting and now_s - self._heard_s > self._window.silence_s() * min(2**self._silences, 8):
            self._silences += 1
            self._ask_all(now_s)
