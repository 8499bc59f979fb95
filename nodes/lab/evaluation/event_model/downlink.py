"""Event model of the downlink: the transfer protocol of `nodes.transfer` on a line, chunk by chunk.

Modelled: the delay until a contact is noticed, the round trip that opens a connection, chunk sizes with
headers down to Ethernet, the priority of answers over images, bytes in flight that cannot be overtaken, and
the retransmission of what LOS cuts off: a chunk, and those in the line behind it. In the next contact an
item that was begun is announced again, and its lost chunks wait for the reply; meanwhile the line is filled
with chunks that were never sent.

Not modelled: TCP slow start (one or two round trips per contact), loss, the uplink's rate.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from typing import Literal

from msgspec import UNSET

from nodes.contract import topics
from nodes.contract.queueing import SendOrder
from nodes.onboard.link_forecast import LinkForecast
from nodes.policies.send_order import SEND_ORDERS
from nodes.transfer.flow_control import QUEUE_S, chunk_size_bytes
from nodes.transfer.messages import INLINE_LIMIT_BYTES, Chunk, Manifest, encode
from nodes.transfer.outbox import PRIORITIES

NOTICE_S = 0.025  # the carrier is polled every 50 ms; half of that on average
_SEGMENT_BYTES = 1448  # TCP payload with timestamps in an Ethernet frame of 1514 bytes
_SEGMENT_HEAD_BYTES = 66  # Ethernet 14, IPv4 20, TCP 32
_PUBLISH_HEAD_BYTES = 1 + 3 + 2  # MQTT: type, remaining length, topic length


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
        again: Sizes of messages to send before all others: its announcement in a further contact.
        lost: Sizes of messages to send again.
        lost_from_s: Time from which the satellite knows which ones were lost.
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
    sent: int = 0
    again: list[int] = field(default_factory=list)
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
    ) -> Item:
        """Put an item into the outbox at `now_s`, which must not precede the time played so far."""
        self.advance(now_s)
        payloads = payload_sizes(name, kind, size_bytes, self._chunk_bytes)
        order = (PRIORITIES[kind], *self._send_key(self._added, value, deadline_s))
        item = Item(name, kind, size_bytes, now_s, payloads, order=order)
        self._added += 1
        self._pending.append(item)
        self._pending.sort(key=lambda pending: pending.order)
        self.items.append(item)
        return item

    @property
    def waiting(self) -> tuple[int, int]:
        """Number of bytes and of items that have not left the outbox."""
        left = ([*item.lost, *item.payloads[item.sent :]] for item in self._pending)
        return sum(map(sum, left)), len(self._pending)

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
        return max(QUEUE_S, floor_s - row.down_delay_s - row.up_delay_s)

    def _send_next(self, now_s: float, los_s: float) -> bool:
        """Send the next message; return False if none may be sent at that time."""
        item = next((one for one in self._pending if one.added_s <= now_s and _has_one(one, now_s)), None)
        if item is None:
            return False
        payload_bytes = _take(item, now_s)
        start_s = max(now_s, self._free_s)
        end_s = self._line.finish_s(start_s, self._wire_bytes(payload_bytes)) if start_s < los_s else None
        item.bytes_sent += payload_bytes
        if item.first_s is None:
            item.first_s = start_s
            item.wait_before_s = self._disconnected_s(item.added_s, start_s)
        item.serialised_s += max(0.0, (los_s if end_s is None else end_s) - start_s)
        if end_s is None:  # cut off by the end of the contact
            item.lost.append(payload_bytes)
            self._lose_queued(now_s, start_s, payload_bytes, los_s)
            self._clock_s = self._free_s = los_s
            self._begin_again(los_s)
            return True
        self._free_s = end_s
        if item.sent == len(item.payloads) and not item.lost and not item.again:
            item.delay_s = self._line.row_at(end_s).down_delay_s
            item.received_s = end_s + item.delay_s
            self._pending.remove(item)
        return True

    def _lose_queued(self, now_s: float, start_s: float, cut_bytes: int, los_s: float) -> None:
        """Lose the messages that wait in the line behind one that is cut off."""
        rate_bit_s = self._line.row_at(start_s).down_bit_s
        ahead_s = self._ahead_s()
        free_s = start_s + self._wire_bytes(cut_bytes) * 8 / rate_bit_s
        while (handed_s := max(now_s, free_s - ahead_s)) < los_s:
            able = (one for one in self._pending if one.added_s <= handed_s and _has_one(one, handed_s))
            item = next((one for one in able if one.sent < len(one.payloads)), None)
            if item is None:
                return
            payload_bytes = item.payloads[item.sent]
            item.sent += 1
            item.bytes_sent += payload_bytes
            item.lost.append(payload_bytes)
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
                item.again = [item.payloads[0]]
                if item.payloads[0] in item.lost:
                    item.lost.remove(item.payloads[0])
                item.lost_from_s = reply_s + self._wire_bytes(item.payloads[0]) * 8 / row.down_bit_s

    def _disconnected_s(self, begin_s: float, end_s: float) -> float:
        opened = [(self._open_s(contact), contact[1]) for contact in self._line.contacts]
        connected_s = sum(max(0.0, min(end_s, los_s) - max(begin_s, open_s)) for open_s, los_s in opened)
        return end_s - begin_s - connected_s

    def _wire_bytes(self, payload_bytes: int) -> int:
        stream_bytes = payload_bytes + _PUBLISH_HEAD_BYTES + self._topic_bytes
        return stream_bytes + _SEGMENT_HEAD_BYTES * math.ceil(stream_bytes / _SEGMENT_BYTES)


def payload_sizes(
    name: str, kind: Literal["answer", "image"], size_bytes: int, chunk_bytes: int
) -> list[int]:
    """Return the sizes of an item's messages in bytes: its manifest, then its chunks."""
    digest = hashlib.sha256(name.encode()).digest()
    manifest = Manifest(
        item_id=digest[:16],
        kind=kind,
        frame=name,
        size_bytes=size_bytes,
        sha256=digest,
        chunk_bytes=chunk_bytes,
        priority=PRIORITIES[kind],
        metadata={},
        query=1,
        data=bytes(size_bytes) if size_bytes <= INLINE_LIMIT_BYTES else UNSET,
    )
    head_bytes = len(encode(Chunk(digest[:16], size_bytes, b""))) + 4
    lengths = [manifest.chunk_length(index) for index in range(manifest.chunks)]
    return [len(encode(manifest)), *(head_bytes + length for length in lengths)]


def _has_one(item: Item, now_s: float) -> bool:
    """Return whether an item has a message that may be sent."""
    lost = item.lost and now_s >= item.lost_from_s
    return bool(item.again or lost or item.sent < len(item.payloads))


def _take(item: Item, now_s: float) -> int:
    """Return the size of an item's next message, and note that it is sent."""
    if item.again:
        return item.again.pop()
    if item.lost and now_s >= item.lost_from_s:
        return item.lost.pop(0)
    item.sent += 1
    return item.payloads[item.sent - 1]
