"""The satellite's end: requests of a station for released items, and the replies to them."""

from __future__ import annotations

from nodes.transfer.messages import Again, Coming, Gone
from nodes.transfer.outbox import Outbox, TransientOutboxError
from nodes.transfer.senders.limits import Allowance

REQUESTS_PER_S = 50.0  # each looks through the names of the released items
REQUESTS_AT_ONCE = 100.0
REPLIES_MAX = 256  # that wait


class Requests:
    """Makes items pending again, and keeps the replies until they can be sent. Not thread-safe.

    Args:
        outbox: box of the items.
    """

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._allowance = Allowance(REQUESTS_PER_S, REQUESTS_AT_ONCE)
        self._replies: dict[bytes, Coming | Gone] = {}

    def handle(self, request: Again, now_s: float) -> bool:
        """Obey a request; return False if there were too many (CLOCK_MONOTONIC)."""
        if not self._allowance.take(now_s) or len(self._replies) >= REPLIES_MAX:
            return False
        try:
            problem = self._outbox.send_again(request.item_id, request.sha256)
        except TransientOutboxError:
            return True  # without a reply, the station asks again
        reply = Coming(request.item_id) if problem is None else Gone(request.item_id, problem)
        self._replies[request.item_id] = reply
        return True

    def next_reply(self) -> Coming | Gone | None:
        """Take the next reply to send; None if there is none."""
        return self._replies.pop(next(iter(self._replies)), None) if self._replies else None

    def forget(self) -> None:
        """Drop the replies: the connection is gone, and the station asks again."""
        self._replies.clear()
