"""Each item arrives once and undamaged or is reported as dropped, whatever is lost, repeated or killed.

A model of one satellite and two stations with a shared inbox, driven by random numbers. The line between them
loses, repeats and reorders payloads and replies; contacts end; either end is killed and restarted; items are
damaged on disk, also complete ones, expire, or meet full boxes. Finally all faults stop, and every item must
be settled.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from nodes.contract.events import Dropped, Event, Expired, FrameRefused, Received, SendRefused
from nodes.transfer.files import read_manifest
from nodes.transfer.flow_control import Window
from nodes.transfer.inbox import Claim, Inbox, InboxItem
from nodes.transfer.messages import Again, Upward, decode_upward, encode
from nodes.transfer.outbox import Outbox, OutboxError
from nodes.transfer.receiver import Receiver
from nodes.transfer.repeats import asking
from nodes.transfer.repeats.requests import Requests
from nodes.transfer.sender import Sender
from nodes.transfer.senders.limits import Limits
from nodes.transfer.senders.space import IDLE_PART_S

CHUNK_BYTES = 1024
STEPS = 120
REST_ROUNDS = 400
ENDS = (Dropped, Expired, SendRefused, FrameRefused)


@pytest.fixture(scope="module", autouse=True)
def impatient_stations() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("LOOK_S", "AGAIN_S", "AGAIN_AWAY_S", "PROMISED_S"):
            patch.setattr(asking, name, 0.0)
        patch.setattr(asking, "UNHEEDED_MAX", 10_000)
        yield


class World:
    """Both ends, the line, and a record of what was told."""

    def __init__(self, folder: Path, seed: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.draw = random.Random(seed)  # noqa: S311
        self.now_s = 1000.0
        self.added: dict[str, bytes] = {}
        self.answered: Counter[str] = Counter()
        self.received: Counter[str] = Counter()
        self.given_up: dict[str, str] = {}
        self.lost: set[str] = set()  # after they were complete
        self.of_pieces = 0  # bytes of messages that may share some
        self.down: list[tuple[int, bytes]] = []
        self.up: list[Upward] = []
        self.claims: dict[int, list[Claim]] = {0: [], 1: []}
        self.station = 0
        self.receivers: dict[int, Receiver] = {}
        self.inboxes: dict[int, Inbox] = {}
        self.start_satellite()
        for number in self.claims:
            self.start_station(number)

    def report(self, event: Event, *, monotonic_s: float | None = None) -> None:
        if isinstance(event, Received) and event.sha256_ok:
            self.received[event.frame] += 1
        elif isinstance(event, ENDS) and "unfinished" not in str(event.fields().get("reason")):
            self.given_up.setdefault(event.frame, event.event_name)

    def start_satellite(self) -> None:
        self.outbox = Outbox(
            self.folder / "outbox", "sat", CHUNK_BYTES, limit_bytes=60_000, report=self.report
        )
        self.sender = Sender(self.outbox, Window(8 * CHUNK_BYTES * 10), self.report)
        self.requests = Requests(self.outbox)
        self.connect()

    def start_station(self, number: int) -> None:
        for claim in self.claims[number]:
            claim.release()  # as the kernel does for a process that was killed
        self.claims[number] = []
        inbox = Inbox(self.folder / "inbox", limit_bytes=90_000, report=self.report)
        self.inboxes[number] = inbox
        self.receivers[number] = Receiver(
            inbox, self.report, lambda item: self.complete(number, item), lambda: self.now_s
        )

    def connect(self) -> None:
        """A contact, perhaps with the other station; what was in flight is lost."""
        self.station = self.draw.randrange(2)
        self.down.clear()
        self.up.clear()
        self.requests.forget()
        self.sender.connected(0.1, self.now_s, go_on=self.draw.random() < 0.5)

    def add(self) -> None:
        frame = f"frame {len(self.added)}"
        content = self.draw.randbytes(self.draw.choice([10, 4096, 5000, 12_000, 30_000]))
        expires_s = self.now_s + self.draw.uniform(0, 60) if self.draw.random() < 0.2 else None
        picture, pieces = None, []
        if len(content) > 4096 and self.draw.random() < 0.5:  # a message of a frame about which more is asked
            picture = self.draw.randrange(4).to_bytes(16, "big")
            pool = random.Random(picture)  # noqa: S311
            pieces = [pool.randbytes(pool.randint(200, 3000)) for _ in range(12)]
            pieces = [pieces[0], *self.draw.sample(pieces[1:], self.draw.randint(3, 10))]
            content = b"".join(pieces)
            self.of_pieces += len(content)
        self.added[frame] = content
        try:
            if len(content) == 10:
                self.outbox.add_answer(frame, content, {}, expires_s=expires_s)
            elif pieces:
                sizes_bytes = list(map(len, pieces))
                self.outbox.add_image(
                    frame, content, {}, expires_s=expires_s, picture=picture, pieces_bytes=sizes_bytes
                )
            else:
                path = self.folder / "image"
                path.write_bytes(content)
                self.outbox.add_image(frame, path, {}, expires_s=expires_s)
        except OutboxError:
            self.given_up.setdefault(frame, "not taken")

    def complete(self, number: int, item: InboxItem) -> None:
        claim = item.claim()
        if claim is not None:
            content = item.data_path.read_bytes()
            assert hashlib.sha256(content).digest() == item.manifest.sha256
            assert content == self.added[item.manifest.frame]
            self.claims[number].append(claim)

    def answer(self) -> None:
        """The model of either station comes to the end of its work."""
        for number, claims in self.claims.items():
            for item in self.inboxes[number].unanswered():
                self.complete(number, item)
            for claim in claims:
                if not claim.holds:  # somebody replaced the item's folder
                    claim.release()
                    continue
                self.answered[claim.item.manifest.frame] += 1
                claim.answered()
            claims.clear()

    def exchange(self, faults: float) -> None:
        """Payloads down, replies up, some of them not, twice, or in another order."""
        while (reply := self.requests.next_reply()) is not None:
            self.down.append((self.station, encode(reply)))
        for _ in range(self.draw.randrange(1, 12)):
            payload = self.sender.next_payload(self.now_s)
            if payload is None:
                break
            self.sender.written(self.now_s)
            self.down.append((self.station, payload))
        self.tangle(self.down, faults)
        for station, payload in self.down:
            self.receivers[station].handle("sat", payload, self.now_s)
        self.down.clear()
        for number, receiver in self.receivers.items():
            replies = [decode_upward(encode(reply)) for _, reply in receiver.replies()]
            self.up += replies if number == self.station else []
        self.tangle(self.up, faults)
        for heard in self.up:
            if isinstance(heard, Again):
                self.requests.handle(heard, self.now_s)
            self.sender.handle(heard, self.now_s)
        self.up.clear()

    def tangle(self, line: list[Any], faults: float) -> None:
        if self.draw.random() < faults:
            line[:] = [entry for entry in line if self.draw.random() < 0.7]
        if self.draw.random() < faults:
            line += [entry for entry in line if self.draw.random() < 0.3]
        if self.draw.random() < faults:
            self.draw.shuffle(line)

    def damage(self) -> None:
        """A bit of a stored chunk flips, at either end."""
        parts = [*self.folder.glob("inbox/*/*/part"), *self.folder.glob("outbox/pending/*/data")]
        if parts:
            path = self.draw.choice(sorted(parts))
            with contextlib.suppress(FileNotFoundError), path.open("r+b") as file:
                position = self.draw.randrange(max(1, path.stat().st_size))
                file.seek(position)
                byte = file.read(1) or b"\0"
                file.seek(position)
                file.write(bytes([byte[0] ^ 0x10]))

    def lose(self) -> None:
        """A complete item is cut or removed, answered or not."""
        complete = sorted(self.folder.glob("inbox/*/*/data"))
        if complete:
            path = self.draw.choice(complete)
            manifest = read_manifest(path.parent / "manifest")
            assert manifest is not None
            self.lost.add(manifest.frame)
            if self.draw.random() < 0.3:
                path.unlink()
            elif self.draw.random() < 0.5:
                os.truncate(path, self.draw.randrange(path.stat().st_size or 1))
            elif not (path.parent / "answered").exists():  # which tells all stations not to answer again
                self.look()
                shutil.rmtree(path.parent)
                self.look()  # a station that is killed before it has looked does not know of the item

    def look(self) -> None:
        for inbox in self.inboxes.values():
            inbox.unanswered()

    def tidy(self) -> None:
        self.outbox.expire(self.now_s)
        self.sender.forget_settled()
        for inbox in self.inboxes.values():
            inbox.expire(self.now_s)

    def step(self) -> None:
        self.now_s += self.draw.choice([0.05, 0.1, 2.0])
        what: Callable[[], object] = self.draw.choices(
            [
                lambda: self.exchange(0.3),
                self.add,
                self.connect,
                self.answer,
                self.damage,
                self.lose,
                self.start_satellite,
                lambda: self.start_station(self.draw.randrange(2)),
                self.tidy,
            ],
            [60, 10, 5, 8, 2, 2, 3, 4, 8],
        )[0]
        what()

    def come_to_rest(self) -> None:
        self.connect()
        for rest in range(REST_ROUNDS):
            self.now_s += 3.0
            self.refill_limits()
            if rest % 20 == 19:
                self.age_inbox()
            self.exchange(0.0)
            self.answer()
            self.tidy()
            if self.sender.idle and not any(inbox.missed for inbox in self.inboxes.values()):
                break
        else:
            pytest.fail(f"does not come to rest: {self.outbox.pending(9)}")
        self.answer()

    def refill_limits(self) -> None:
        """Let seconds pass for the limits of a satellite, which go by the clock."""
        for receiver in self.receivers.values():
            receiver._limits = Limits()
            receiver._inbox._space._searches.clear()

    def age_inbox(self) -> None:
        """Let a minute pass for the inbox, which goes by the time of files: what was given up makes room."""
        past_s = time.time() - 2 * IDLE_PART_S
        for path in [*self.folder.glob("inbox/*/*/part"), *self.folder.glob("inbox/*/*/manifest")]:
            os.utime(path, (past_s, past_s))

    def check(self) -> None:
        for frame in self.added:
            assert self.answered[frame] <= 1, f"{frame} was answered twice"
            if frame not in self.lost:
                assert self.received[frame] <= 1, f"{frame} was received twice"
                assert self.received[frame] == self.answered[frame], f"{frame} was received, not answered"
            assert self.answered[frame] or frame in self.given_up, f"{frame} was lost in silence"
        assert self.answered.keys() <= self.added.keys()


def play(folder: Path, seed: int) -> World:
    world = World(folder, seed)
    try:
        for _ in range(STEPS):
            world.step()
        world.come_to_rest()
        world.check()
    finally:
        for inbox in world.inboxes.values():
            inbox.close()
    return world


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None, database=None, phases=[Phase.generate])
def test_each_item_arrives_once_or_is_reported(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    play(tmp_path_factory.mktemp("world"), seed)


def test_the_model_does_reach_both_ends(tmp_path: Path) -> None:
    """Else the test above would say nothing: many items arrive, and some of each way are given up."""
    arrived, given_up = 0, Counter[str]()
    for seed in range(12):
        world = play(tmp_path / str(seed), seed)
        arrived += sum(world.answered.values())
        given_up.update(world.given_up.values())
    assert arrived > 60
    assert {"dropped", "expired", "send_refused"} <= given_up.keys(), given_up
