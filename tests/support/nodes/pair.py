"""Both ends of a transfer in one process, and a line between them that the test is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from nodes.contract.events import Event
from nodes.transfer.flow_control import Window
from nodes.transfer.inbox import Inbox, InboxItem
from nodes.transfer.messages import Again, Upward, decode_upward, encode
from nodes.transfer.outbox import Outbox
from nodes.transfer.receiver import Receiver
from nodes.transfer.repeats.requests import Requests
from nodes.transfer.sender import Sender

CHUNK_BYTES = 4096
SIZE_BYTES = 50_000


class Pair:
    """Both ends in one folder, and a line between them that the test is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.events: list[dict[str, Any]] = []
        self.completed: list[InboxItem] = []
        self.now_s = 100.0
        self.start_satellite()
        self.start_station()

    def report(self, event: Event, *, monotonic_s: float | None = None) -> None:
        self.events.append({"event": event.event_name, **event.fields()})

    def of(self, event: str) -> list[dict[str, Any]]:
        return [e for e in self.events if e["event"] == event]

    def start_satellite(self) -> None:
        self.outbox = Outbox(self.folder / "outbox", "sat", CHUNK_BYTES, report=self.report)
        self.sender = Sender(self.outbox, Window(8e5), self.report)
        self.sender.connected(0.1, self.now_s)
        self.requests = Requests(self.outbox)

    def start_station(self) -> None:
        self.inbox = Inbox(self.folder / "inbox", report=self.report)
        self.receiver = Receiver(self.inbox, self.report, self.completed.append)

    def add(self, frame: str = "dam", size_bytes: int = SIZE_BYTES) -> bytes:
        content = os.urandom(size_bytes)
        assert self.outbox.add_image(frame, content, {"prompt": "?"})
        return content

    def take(self) -> list[bytes]:
        taken = []
        while (payload := self.sender.next_payload(self.now_s)) is not None:
            taken.append(payload)
            self.sender.written(self.now_s)
        return taken

    def give(self, taken: list[bytes]) -> list[Upward]:
        for payload in taken:
            self.receiver.handle("sat", payload, self.now_s)
        return [decode_upward(encode(reply)) for _, reply in self.receiver.replies()]

    def hear(self, replies: list[Upward]) -> None:
        for reply in replies:
            if isinstance(reply, Again):
                self.requests.handle(reply, self.now_s)
            self.sender.handle(reply, self.now_s)

    def turn(self) -> None:
        self.hear(self.give(self.take()))
        while (reply := self.requests.next_reply()) is not None:
            self.receiver.handle("sat", encode(reply), self.now_s)
        self.now_s += 3.0

    def run(self) -> None:
        for _ in range(60):
            self.turn()
            if self.sender.idle:
                return
        pytest.fail("the transfer does not come to an end")

    def item_folder(self) -> Path:
        (manifest,) = (self.folder / "inbox").glob("*/*/manifest")
        return manifest.parent
