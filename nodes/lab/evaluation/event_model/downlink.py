"""Event model of the downlink: the transfer protocol of `nodes.transfer` on a line, chunk by chunk.

Modelled: the delay until a contact is noticed, the round trip that opens a connection, chunk sizes with
headers down to Ethernet, the priority of answers over images, bytes in flight that cannot be overtaken, and
the retransmission of what LOS cuts off: a chunk, and those in the line behind it. In the next contact an
item that was begun is announced again, and its lost chunks wait for the reply; meanwhile the line is filled
with chunks that were never sent. Items of one picture take turns, and one that follows another is announced
first: the ground replies which of its chunks it has.

Not modelled: TCP slow start (one or two round trips per contact), loss, the uplink's rate.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from msgspec import UNSET

from nodes.contract import topics
from nodes.contract.queueing import SendOrder
from nodes.onboard.link_forecast import LinkForecast
from nodes.policies.send_order import SEND_ORDERS
from nodes.transfer.flow_control import QUEUE_S, chunk_size_bytes
from nodes.transfer.messages import INLINE_LIMIT_BYTES, Chunk, Manifest, Metadata, Piece, encode
from nodes.transfer.outbox import PRIORITIES
from nodes.transfer.pieces.cutting import cut, parts

NOTICE_S = 0.025  # the carrier is polled every 50 ms; half of that on average
HANDLING_S = 0.05  # until a chunk that has arrived leaves the window: broker, disk, replies every 20 ms
_SEGMENT_BYTES = 1448  # TCP payload with timestamps in an Ethernet frame of 1514 bytes
_SEGMENT_HEAD_BYTES = 66  # Ethernet 14, IPv4 20, TCP 32
_PUBLISH_HEAD_BYTES = 1 + 3 + 2  # MQTT: type, remaining length, topic length


@dataclass(frozen=True)
class Message:
    """What is known of the data of an image.

    Attributes:
        picture: Equal for images that share what is sent of them.
        content: Equal for images of one picture with the same data.
        pieces: Key and size of each piece, if other images of the picture may have some of them as well.
        metadata: Metadata that is sent with it.
    """

    picture: object
    content: object
    pieces: tuple[tuple[str, int], ...] = ()
    metadata: Metadata = field(default_factory=dict)

    def pieces_bytes(self, chunk_bytes: int) -> list[int]:
        """Return the sizes of the chunks that the pieces are cut into."""
        return cut([size_bytes for _, size_bytes in self.pieces], chunk_bytes)

    def keys(self, chunks: int, chunk_bytes: int) -> list[object]:
        """Return what is equal for equal chunks of one picture."""
        if not self.pieces_bytes(chunk_bytes):
            return [(self.content, number) for number in range(chunks)]
        cuts = ((key, parts(size_bytes, chunk_bytes)) for key, size_bytes in self.pieces)
        return [(key, number) for key, sizes in cuts for number, _ in enumerate(sizes)]


@dataclass
class Item:
    """An item of the outbox and its progress; times are scenario seconds.

    Attributes:
        name: Name of the frame.
        kind: "answer" or "image".
        size_bytes: Size of its data.
        added_s: Time at which it entered the outbox.
        payloads: Sizes of its messages in bytes.
        sent: Number of messages that were sent, including lost ones.
        keys: What is equal for equal messages of items of one picture; None for the announcement.
        picture: What it shares messages with; None if it shares none.
        asks_first: Whether it is announced before anything else, and sends what the ground then lacks.
        own_bytes: Size of its messages without those that an earlier item has as well.
        again: Whether it has to be announced again, before all else.
        lost: Indices of the messages to send again.
        lost_from_s: Time from which the satellite knows which ones were lost, or are lacking.
        first_s: Start of its first message.
        received_s: Arrival of its last byte on the ground.
        wait_before_s: Time without a connection before its first message.
        wait_s: Time without a connection after its first message.
        bytes_sent: Bytes of messages, including repeated ones.
        serialised_s: Time that the line spent on its messages, including repeated ones.
        delay_s: Propagation delay of its last message.
        order: Sort key in the outbox: priority, then the send order's.
    """

    name: str
    kind: Literal["answer", "image"]
    size_bytes: int
    added_s: float
    payloads: list[int]
    keys: list[object] = field(default_factory=list)
    picture: object = None
    asks_first: bool = False
    own_bytes: int = 0
    sent: int = 0
    again: bool = False
    lost: list[int] = field(default_factory=list)
    lost_from_s: float = 0.0
    first_s: float | None = None
    received_s: float | None = None
    wait_before_s: float = 0.0
    wait_s: float = 0.0
    bytes_sent: int = 0
    serialised_s: float = 0.0
    delay_s: float = 0.0
    order: tuple[float, ...] = field(default=(0, 0))

    @property
    def has_more(self) -> bool:
        """Whether it has a message to send, now or after a reply."""
        return self.again or bool(self.lost) or self.sent < len(self.payloads)

    def may_send(self, now_s: float) -> bool:
        """Return whether it has a message that may be sent at a time."""
        if self.added_s > now_s:
            return False
        replied = now_s >= self.lost_from_s
        new = self.sent < len(self.payloads) and (replied or not self.asks_first or self.sent == 0)
        return self.again or (bool(self.lost) and replied) or new

    def take(self, now_s: float) -> int:
        """Return the index of the next message, and note that it is sent."""
        if self.again:
            self.again = False
            return 0
        if self.lost and now_s >= self.lost_from_s:
            return self.lost.pop(0)
        self.sent += 1
        return self.sent - 1

    @property
    def waiting_bytes(self) -> int:
        """Bytes that have not left the outbox, without those that an earlier item has as well."""
        left = sum(self.payloads[self.sent :]) + sum(self.payloads[index] for index in self.lost)
        return min(left, self.own_bytes)


class Downlink:
    """One satellite's outbox and line.

    Args:
        line: The link over time.
        rate_bit_s: Planning rate that determines the chunk size, as in the satellite's program.
        satellite: Name of the satellite, a part of every topic.
        send_order: Order of the images that wait.
    """

    def __init__(
        self,
        line: LinkForecast,
        rate_bit_s: float,
        satellite: str = "satellite",
        send_order: SendOrder = "oldest",
    ) -> None:
        self._send_key = SEND_ORDERS[send_order]
        self._line = line
        self._chunk_bytes = chunk_size_bytes(rate_bit_s)
        self._topic_bytes = len(topics.down(satellite))
        self._pending: list[Item] = []
        self._known: dict[object, set[object]] = {}  # messages that items have, by picture
        self._held: dict[object, set[object]] = {}  # of them, those that have left for the ground
        self._sent_last: dict[object, Item] = {}
        self._added = 0
        self._clock_s = 0.0
        self._free_s = 0.0
        self.items: list[Item] = []

    def add(
        self,
        name: str,
        kind: Literal["answer", "image"],
        size_bytes: int,
        now_s: float,
        *,
        value: float = 1.0,
        deadline_s: float | None = None,
        message: Message | None = None,
    ) -> Item:
        """Put an item into the outbox at `now_s`, which must not precede the time played so far.

        Args:
            name: As for `Item`.
            kind: As for `Item`.
            size_bytes: As for `Item`.
            now_s: The time.
            value: Worth of the item, for the order of sending.
            deadline_s: Its deadline, for the order of sending.
            message: What is known of its data; without it, it shares none.
        """
        self.advance(now_s)
        payloads = payload_sizes(name, kind, size_bytes, self._chunk_bytes, message)
        order = (PRIORITIES[kind], *self._send_key(self._added, value, deadline_s))
        item = Item(name, kind, size_bytes, now_s, payloads, order=order, own_bytes=sum(payloads))
        if message is not None and len(payloads) > 1:
            self._share(item, message)
        self._added += 1
        self._pending.append(item)
        self._pending.sort(key=lambda pending: pending.order)
        self.items.append(item)
        return item

    @property
    def waiting(self) -> tuple[int, int]:
        """Number of bytes and of items that have not left the outbox."""
        return sum(item.waiting_bytes for item in self._pending), len(self._pending)

    def _share(self, item: Item, message: Message) -> None:
        """Note what an item has in common with others of its picture."""
        item.picture, item.asks_first = message.picture, message.picture in self._known
        item.keys = [None, *message.keys(len(item.payloads) - 1, self._chunk_bytes)]
        known = self._known.setdefault(message.picture, {None})
        new = (size for size, key in zip(item.payloads, item.keys, strict=True) if key not in known)
        item.own_bytes = sum(new)
        known.update(item.keys)

    def _able(self, now_s: float) -> Iterator[Item]:
        """Yield the items that may send, in their order; those of one picture take turns."""
        busy: set[object] = set()
        for item in self._pending:
            if item.picture is not None:
                if item.picture in busy or item.added_s > now_s:
                    continue
                if item.has_more:
                    busy.add(item.picture)
                    if item.sent and self._sent_last.get(item.picture, item) is not item:
                        item.again = item.asks_first = True
            if item.may_send(now_s):
                yield item

    def advance(self, until_s: float) -> None:
        """Play the line up to a time."""
        while self._pending:
            contact = self._line.contact_after(self._clock_s)
            if contact is None:
                return
            open_s = self._open_s(contact)
            ready_s = min(item.added_s for item in self._pending)
            now_s = max(self._clock_s, open_s, ready_s, self._free_s - self._ahead_s())
            if now_s >= contact[1]:
                self._clock_s = contact[1]
                continue
            if now_s > until_s:
                return
            self._clock_s = now_s
            if not self._send_next(now_s, contact[1]):
                later_s = [item.added_s for item in self._pending if item.added_s > now_s]
                later_s += [item.lost_from_s for item in self._pending if item.lost_from_s > now_s]
                self._clock_s = min(later_s)

    def _open_s(self, contact: tuple[float, float]) -> float:
        """Return when the first payload of a contact can leave: contact noticed, connection open."""
        row = self._line.row_at(contact[0])
        return contact[0] + NOTICE_S + row.down_delay_s + row.up_delay_s

    def _ahead_s(self) -> float:
        """Return how much time of the line may be filled ahead of now."""
        row = self._line.row_at(self._free_s)
        carries = row.up and row.down_bit_s > 0
        floor_s = 2 * self._chunk_bytes * 8 / row.down_bit_s if carries else 0.0
        return max(QUEUE_S - HANDLING_S, floor_s - row.down_delay_s - row.up_delay_s)

    def _send_next(self, now_s: float, los_s: float) -> bool:
        """Send the next message; return False if none may be sent at that time."""
        item = next(self._able(now_s), None)
        if item is None:
            return False
        index = item.take(now_s)
        payload_bytes = item.payloads[index]
        if item.picture is not None:
            self._sent_last[item.picture] = item
        start_s = max(now_s, self._free_s)
        end_s = self._line.finish_s(start_s, self._wire_bytes(payload_bytes)) if start_s < los_s else None
        item.bytes_sent += payload_bytes
        if item.first_s is None:
            item.first_s = start_s
            item.wait_before_s = self._disconnected_s(item.added_s, start_s)
        item.serialised_s += max(0.0, (los_s if end_s is None else end_s) - start_s)
        if end_s is None:  # cut off by the end of the contact
            item.lost.append(index)
            self._lose_queued(now_s, start_s, payload_bytes, los_s)
            self._clock_s = self._free_s = los_s
            self._begin_again(los_s)
            return True
        self._free_s = end_s
        if item.picture is not None:
            self._arrived(item, index, end_s)
        if item.sent == len(item.payloads) and not item.lost and not item.again:
            item.delay_s = self._line.row_at(end_s).down_delay_s
            item.received_s = end_s + item.delay_s
            self._pending.remove(item)
        return True

    def _arrived(self, item: Item, index: int, end_s: float) -> None:
        """Note what the ground has, and what its reply to an announcement will say."""
        held = self._held.setdefault(item.picture, set())
        if index > 0:
            held.add(item.keys[index])
        elif item.asks_first:
            lacking = [place for place, key in enumerate(item.keys) if key not in held]
            item.payloads = [item.payloads[place] for place in lacking]
            item.keys = [item.keys[place] for place in lacking]
            item.sent, item.lost = 1, []
            row = self._line.row_at(end_s)
            item.lost_from_s = end_s + row.down_delay_s + row.up_delay_s

    def _lose_queued(self, now_s: float, start_s: float, cut_bytes: int, los_s: float) -> None:
        """Lose the messages that wait in the line behind one that is cut off."""
        rate_bit_s = self._line.row_at(start_s).down_bit_s
        ahead_s = self._ahead_s()
        free_s = start_s + self._wire_bytes(cut_bytes) * 8 / rate_bit_s
        while (handed_s := max(now_s, free_s - ahead_s)) < los_s:
            item = next((one for one in self._able(handed_s) if one.sent < len(one.payloads)), None)
            if item is None:
                return
            payload_bytes = item.payloads[item.sent]
            item.lost.append(item.sent)
            item.sent += 1
            item.bytes_sent += payload_bytes
            free_s += self._wire_bytes(payload_bytes) * 8 / rate_bit_s

    def _begin_again(self, los_s: float) -> None:
        """Announce the items that were begun once more in the next contact, after a cut at `los_s`."""
        following = self._line.contact_after(los_s)
        if following is None:
            return
        open_s = self._open_s(following)
        row = self._line.row_at(following[0])
        reply_s = open_s + row.down_delay_s + row.up_delay_s
        for item in self._pending:
            if item.first_s is not None:
                item.wait_s += open_s - los_s
            if item.sent:
                item.again = True
                if 0 in item.lost:
                    item.lost.remove(0)
                item.lost_from_s = reply_s + self._wire_bytes(item.payloads[0]) * 8 / row.down_bit_s

    def _disconnected_s(self, begin_s: float, end_s: float) -> float:
        opened = [(self._open_s(contact), contact[1]) for contact in self._line.contacts]
        connected_s = sum(max(0.0, min(end_s, los_s) - max(begin_s, open_s)) for open_s, los_s in opened)
        return end_s - begin_s - connected_s

    def _wire_bytes(self, payload_bytes: int) -> int:
        stream_bytes = payload_bytes + _PUBLISH_HEAD_BYTES + self._topic_bytes
        return stream_bytes + _SEGMENT_HEAD_BYTES * math.ceil(stream_bytes / _SEGMENT_BYTES)


def payload_sizes(
    name: str,
    kind: Literal["answer", "image"],
    size_bytes: int,
    chunk_bytes: int,
    message: Message | None = None,
) -> list[int]:
    """Return the sizes of an item's messages in bytes: its manifest, then its chunks.

    Args:
        name: Name of the frame.
        kind: Kind of the item.
        size_bytes: Size of its data.
        chunk_bytes: Size of its chunks, unless it has pieces.
        message: What is known of its data.
    """
    pieces_bytes = message.pieces_bytes(chunk_bytes) if message else []
    digest = hashlib.sha256(name.encode()).digest()
    manifest = Manifest(
        item_id=digest[:16],
        kind=kind,
        frame=name,
        size_bytes=size_bytes,
        sha256=digest,
        chunk_bytes=chunk_bytes,
        priority=PRIORITIES[kind],
        metadata=message.metadata if message else {},
        query=1,
        data=bytes(size_bytes) if size_bytes <= INLINE_LIMIT_BYTES else UNSET,
        picture=digest[:16] if message and size_bytes > INLINE_LIMIT_BYTES else UNSET,
        pieces=tuple(Piece(size, digest[:8]) for size in pieces_bytes) or UNSET,
    )
    head_bytes = len(encode(Chunk(digest[:16], size_bytes, b""))) + 4
    lengths = [manifest.chunk_length(index) for index in range(manifest.chunks)]
    return [len(encode(manifest)), *(head_bytes + length for length in lengths)]
