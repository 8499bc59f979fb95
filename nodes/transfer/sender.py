"""Satellite end of the transfer protocol, without a network: replies in, payloads out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from msgspec import UNSET
from msgspec.structs import replace

from nodes.contract.events import Delivered, SendFinished, SendRefused, SendStarted, SendWaits
from nodes.contract.report import Report
from nodes.transfer.chunk_map import ChunkMap
from nodes.transfer.flow_control import Window
from nodes.transfer.messages import (
    Again,
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
from nodes.transfer.outbox import Outbox, OutboxError, OutboxItem, TransientOutboxError

ITEMS_AT_ONCE = 32  # items under way at the same time, so that small ones fill a long path
WAIT_S = 2.0  # until an item for which the ground had no space is offered again


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
    """Progress of one pending item, as known to this process."""

    item: OutboxItem
    have: ChunkMap
    begun: bool  # a part of the item was sent, by this process or an earlier one
    open: bool  # any chunk may be sent; False until the ground has replied with its chunks
    ask: bool = True  # a manifest must be sent
    fresh: bool = False  # chunks that were never sent may be sent before this reply
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
        """Forget the payloads in flight; the reply to the next manifest tells which of them arrived.

        Args:
            go_on: whether chunks that were never sent may be sent before this reply.
        """
        self.under_way.clear()
        self.manifest_under_way = None
        self.cursor = 0
        self.ask = True
        if self.query:
            self.open = False
            self.fresh = go_on and not self.item.asks_first

    def ask_before_more(self) -> None:
        """Send no chunk before the ground has replied to a further manifest: it may hold others now."""
        self.fresh = False
        if self.open:
            self.lose_under_way()

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

    @property
    def has_more(self) -> bool:
        """Whether there is more to send, or nobody knows before the ground has replied."""
        return self.ask or not self.open or self.next_chunk() is not None

    def bytes_under_way(self) -> int:
        """Return the number of payload bytes that are not acknowledged."""
        inline = self.manifest_under_way.size_bytes if self.manifest_under_way else 0
        return inline + sum(sent.size_bytes for sent in self.under_way.values())

    def bytes_to_go(self) -> int:
        """Return about how many bytes the ground does not have; the last chunk counts as a full one."""
        manifest = self.item.manifest
        if manifest.pieces is UNSET:
            return manifest.size_bytes - self.have.present * manifest.chunk_bytes
        return sum(piece.size_bytes for index, piece in enumerate(manifest.pieces) if index not in self.have)

    def own_bytes_sent(self) -> int:
        """Return about how many of the bytes that no item before it has are on the ground or under way."""
        own_bytes = self.item.own_bytes
        return max(0, own_bytes - max(0, self.bytes_to_go() - self.bytes_under_way()))


class Siblings:
    """Turns of items of the same picture: what one has sent, another does not send again.

    The ground tells which chunks of an item it has, from whichever item they came. So one item asks when the
    one before it has nothing left to send, and asks again when another one has sent something meanwhile.
    """

    def __init__(self) -> None:
        self._sent_last: dict[bytes, bytes] = {}  # id of the item, by picture

    def in_turn(self, items: Iterable[Progress]) -> Iterator[Progress]:
        """Yield the items that may send, in the same order."""
        busy: set[bytes] = set()
        for progress in items:
            manifest = progress.item.manifest
            if manifest.picture is UNSET:
                yield progress
            elif manifest.picture not in busy:
                if progress.has_more:
                    busy.add(manifest.picture)
                    last = self._sent_last.get(manifest.picture, manifest.item_id)
                    if last != manifest.item_id and progress.query:
                        progress.ask_before_more()
                yield progress

    def sent(self, progress: Progress) -> None:
        """Note that an item has sent something."""
        manifest = progress.item.manifest
        if manifest.picture is not UNSET:
            self._sent_last[manifest.picture] = manifest.item_id

    def forget(self, kept: Iterable[Progress]) -> None:
        """Forget the pictures of all items but these."""
        pictures = {progress.item.manifest.picture for progress in kept}
        self._sent_last = {picture: last for picture, last in self._sent_last.items() if picture in pictures}


class Sender:
    """Chooses the next payload of one connection, and evaluates the replies. Not thread-safe.

    Args:
        outbox: box of pending items.
        window: limit of the bytes under way.
        report: receives send_started, send_finished, delivered, send_refused and send_waits.
        express: True to send the items of the express connection, False for all others, None for both.
    """

    def __init__(
        self, outbox: Outbox, window: Window, report: Report, *, express: bool | None = None
    ) -> None:
        self._outbox = outbox
        self._window = window
        self._report = report
        self._express = express
        self._progress: dict[bytes, Progress] = {}
        self._siblings = Siblings()
        self._last: Progress | None = None
        self._order = 0
        self._under_way_bytes = 0
        self._heard_s = 0.0
        self._connected_s = 0.0
        self._silences = 0
        self.contact_ends_s: float | None = None  # CLOCK_MONOTONIC; None if unknown

    def connected(self, rtt_s: float, now_s: float, *, go_on: bool = True) -> None:
        """Start on a new connection: all payloads under way are lost.

        Args:
            rtt_s: round-trip time of the connection.
            now_s: CLOCK_MONOTONIC.
            go_on: whether chunks that were never sent may follow the first manifest at once. This saves a
                round trip, but costs a second window if the ground program is not running.
        """
        self._window.connected(rtt_s, now_s)
        self._connected_s = now_s
        self._silences = 0
        self._ask_all(now_s, go_on=go_on)

    def next_payload(self, now_s: float) -> bytes | None:
        """Return the next payload for the socket; None if there is none or the window is full."""
        self._ask_after_silence(now_s)
        full = self._under_way_bytes >= self._window.limit_bytes
        for progress in self._siblings.in_turn(self._in_turn(now_s)):
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
        """Handle a reply of the ground; replies about items of the other connection are ignored."""
        if isinstance(message, Hello):
            self._heard(now_s)
            self._ask_all(now_s)
            return
        if isinstance(message, Again):
            return  # repeats/requests.py handles it
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
        """Forget items that left the outbox without a reply, since they were dropped or expired."""
        pending = {item.manifest.item_id for item in self._outbox.pending(1 << 30)}
        for item_id in self._progress.keys() - pending:
            del self._progress[item_id]
        self._siblings.forget(self._progress.values())
        self._under_way_bytes = sum(p.bytes_under_way() for p in self._progress.values())

    @property
    def idle(self) -> bool:
        """Whether the ground has everything."""
        return not self._outbox.pending(1, express=self._express)

    @property
    def sent_bytes(self) -> int:
        """About how many bytes of the pending items the ground has or are under way, shared ones once."""
        return sum(progress.own_bytes_sent() for progress in self._progress.values())

    @property
    def silences(self) -> int:
        """Number of consecutive queries without a reply."""
        return self._silences

    def _heard(self, now_s: float) -> None:
        self._heard_s = now_s
        self._silences = 0

    def _in_turn(self, now_s: float) -> Iterator[Progress]:
        """Yield items in the order of sending.

        If the end of the contact is known, an item that cannot finish in time is not started. An item that is
        too large for the whole contact would never be started, so it is sent when no other item is left.
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
            begun = item.begun  # by an earlier process: query the ground before sending
            is_new = not begun and not item.asks_first
            progress = Progress(item, ChunkMap(manifest.chunks), begun=begun, open=is_new)
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
        except TransientOutboxError as error:
            self._wait(progress, str(error), now_s)
            return None
        except OutboxError as error:
            self._refused(progress, str(error))
            return None
        payload = encode(Chunk(item.manifest.item_id, item.manifest.chunk_offset(index), data))
        progress.under_way[index] = self._note(progress, payload, now_s)
        progress.chunks_sent += 1
        progress.resent_chunks += not progress.ever_sent.add(index)
        return payload

    def _note(self, progress: Progress, payload: bytes, now_s: float) -> Sent:
        if self._under_way_bytes == 0:
            self._heard_s = now_s  # silence counts from the first payload that expects a reply
        self._order += 1
        self._siblings.sent(progress)
        self._under_way_bytes += len(payload)
        progress.bytes_sent += len(payload)
        self._last = progress
        full = self._under_way_bytes >= self._window.limit_bytes
        return Sent(now_s, len(payload), progress.query, self._order, full)

    def written(self, now_s: float) -> None:
        """Note that the socket has accepted the last payload in full."""
        if self._last is not None:
            self._last.last_sent_s = now_s
            self._last = None

    def _have(self, progress: Progress, message: Have, now_s: float) -> None:
        if message.query != progress.query and not progress.open:
            return  # sent before the cut; the reply to the query after it is under way
        progress.have = ChunkMap.from_base(progress.have.count, message.base, message.bitmap)
        for index in range(progress.have.count if progress.item.asks_first else 0):
            if index in progress.have:  # perhaps from another item
                progress.ever_sent.add(index)
        if progress.manifest_under_way and message.query >= progress.manifest_under_way.query:
            progress.manifest_under_way = None
        progress.open = True
        if progress.item.manifest.inline:
            progress.ask = True  # it arrived with another sha256
        self._settle_chunks(progress, message.query, now_s)

    def _settle_chunks(self, progress: Progress, query: int, now_s: float) -> None:
        for index, sent in list(progress.under_way.items()):
            if index in progress.have:
                del progress.under_way[index]
                progress.acknowledged_order = max(progress.acknowledged_order, sent.order)
                self._window.acknowledged(sent.size_bytes, now_s - sent.at_s, sent.window_was_full, now_s)
        # A connection preserves order: a chunk is lost if it is missing while a later one has arrived.
        for index, sent in list(progress.under_way.items()):
            if sent.query < query or sent.order < progress.acknowledged_order:
                del progress.under_way[index]
        first = progress.have.first_missing()
        progress.cursor = min(progress.cursor, first)

    def _done(self, progress: Progress, now_s: float) -> None:
        for sent in progress.under_way.values():
            self._window.acknowledged(sent.size_bytes, now_s - sent.at_s, sent.window_was_full, now_s)
        manifest = progress.item.manifest
        was_pending = self._outbox.release(progress.item)
        del self._progress[manifest.item_id]
        if not was_pending:
            return
        if progress.last_sent_s is not None:
            # Reported only now, when no chunk can be sent again, but with the time of the last one.
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
        was_pending = self._outbox.refuse(progress.item)
        del self._progress[manifest.item_id]
        if was_pending:
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
