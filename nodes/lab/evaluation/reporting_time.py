"""Time a ground station takes to store and report one on-board answer.

It is short, but answers that waited for a contact arrive together and are handled one by one. It is measured
with both ends of the transfer protocol and no network.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import msgpack

from nodes.contract.report import report_nothing
from nodes.transfer.flow_control import Window
from nodes.transfer.inbox import Inbox, InboxItem
from nodes.transfer.outbox import Outbox
from nodes.transfer.receiver import Receiver
from nodes.transfer.sender import Sender

_ANSWERS = 10


def measure_reporting_s(folder: Path) -> float:
    """Measure the seconds per answer for an inbox on the disk of `folder`; nothing is left there."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        payloads = _payloads(Path(place) / "outbox")
        receiver = Receiver(Inbox(Path(place) / "inbox"), report_nothing, _settle)
        begin_s = time.perf_counter()
        for payload in payloads:
            receiver.handle("sat", payload, time.monotonic())
            receiver.replies()
        return (time.perf_counter() - begin_s) / len(payloads)


def _payloads(folder: Path) -> list[bytes]:
    outbox = Outbox(folder, "sat", 1 << 16)
    for number in range(_ANSWERS):
        outbox.add_answer(f"frame {number}", msgpack.packb({"answer": "two", "confidence": 0.9}), {})
    sender = Sender(outbox, Window(1e9), report_nothing)
    sender.connected(0.0, 0.0)
    payloads = []
    while (payload := sender.next_payload(0.0)) is not None:
        payloads.append(payload)
    return payloads


def _settle(item: InboxItem) -> None:
    claim = item.claim()
    if claim is None:
        raise RuntimeError(f"{item.folder} was claimed by another station while it was measured")
    msgpack.unpackb(item.data_path.read_bytes())
    claim.answered()
