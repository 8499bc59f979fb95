"""Several messages of one picture: each piece goes down once, whatever happens in between."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from nodes.policies.send_order import SEND_ORDERS
from nodes.transfer.flow_control import Window
from nodes.transfer.inbox import Inbox
from nodes.transfer.messages import Chunk, Hello, Manifest, Upward, decode_downward
from nodes.transfer.outbox import Outbox
from nodes.transfer.pieces.cutting import cut
from nodes.transfer.receiver import Receiver
from nodes.transfer.sender import Sender
from tests.unit.nodes.transfer.test_sender_and_receiver import CHUNK_BYTES, Ends

PICTURE = bytes(range(16))
PIECES = [random.Random(number).randbytes(1500 + 300 * number) for number in range(9)]  # noqa: S311


def ask(ends: Ends, frame: str, *pieces: int, picture: bytes = PICTURE) -> bytes:
    """Add a message of the overview and some regions."""
    parts = [PIECES[0], *(PIECES[number] for number in pieces)]
    sizes_bytes = list(map(len, parts))
    assert ends.outbox.add_image(frame, b"".join(parts), {}, picture=picture, pieces_bytes=sizes_bytes)
    return b"".join(parts)


def stored(ends: Ends) -> dict[str, bytes]:
    return {item.manifest.frame: item.data_path.read_bytes() for item in ends.completed}


class Recorded(Ends):
    """Both ends, and all chunks that went down."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.chunks: list[bytes] = []

    def give(self, payloads: list[bytes]) -> list[Upward]:
        messages = map(decode_downward, payloads)
        self.chunks += [message.data for message in messages if isinstance(message, Chunk)]
        return super().give(payloads)

    def carry(self, count: int) -> None:
        """Carry so many payloads down, one by one, and the replies up."""
        for _ in range(count):
            payload = self.sender.next_payload(self.now_s)
            self.reply(self.give([] if payload is None else [payload]))


@pytest.fixture
def ends(tmp_path: Path) -> Recorded:
    return Recorded(tmp_path)


def test_what_two_prompts_have_in_common_is_sent_once(ends: Recorded) -> None:
    one, other = ask(ends, "f-1", 1, 2, 3), ask(ends, "f-2", 3, 1, 4)
    ends.run()
    assert stored(ends) == {"f-1": one, "f-2": other}
    assert sorted(ends.chunks) == sorted(PIECES[number] for number in (0, 1, 2, 3, 4))
    assert ends.outbox.own_bytes() == 0


def test_a_whole_frame_of_several_prompts_is_sent_once(ends: Recorded) -> None:
    content = os.urandom(50_000)
    for number in range(3):
        assert ends.outbox.add_image(f"f-{number}", content, {}, picture=PICTURE)
    assert ends.outbox.own_bytes() == 50_000
    ends.run()
    assert stored(ends) == dict.fromkeys(("f-0", "f-1", "f-2"), content)
    assert b"".join(ends.chunks) == content


def test_messages_of_different_pictures_wait_for_nothing(ends: Recorded) -> None:
    for number in range(2):
        ask(ends, f"f-{number}", 1, 2, picture=bytes([number]) * 16)
    ends.give(ends.take())
    assert len(ends.chunks) == 6, "no round trip before the chunks of a new picture"


def cut_off(ends: Recorded) -> None:
    ends.sender.connected(0.1, ends.now_s)


def restart_satellite(ends: Recorded) -> None:
    ends.restart_sender()


def restart_ground(ends: Recorded) -> None:
    ends.restart_receiver()
    ends.reply([Hello()])


def other_station(ends: Recorded) -> None:
    """Another station, with the same inbox, takes over."""
    ends.receiver = Receiver(Inbox(ends.folder / "inbox"), ends.report, ends.completed.append)
    ends.sender.connected(0.1, ends.now_s)


@pytest.mark.parametrize("event", [cut_off, restart_satellite, restart_ground, other_station])
@pytest.mark.parametrize("arrived", range(8))
def test_an_interruption_costs_no_piece_that_had_arrived(
    ends: Recorded, event: Callable[[Recorded], None], arrived: int
) -> None:
    contents = {"f-1": ask(ends, "f-1", 1, 2, 3), "f-2": ask(ends, "f-2", 3, 1, 4, 5)}
    ends.carry(arrived)
    event(ends)
    ends.run()
    assert stored(ends) == contents
    assert len(ends.chunks) == len(set(ends.chunks)), "a piece came down twice"
    assert set(ends.chunks) == {PIECES[number] for number in (0, 1, 2, 3, 4, 5)}


def test_a_prompt_that_comes_after_a_restart_finds_what_was_sent_before(ends: Recorded) -> None:
    first = ask(ends, "f-1", 1, 2, 3)
    ends.run()
    ends.restart_sender()
    ends.restart_receiver()
    second = ask(ends, "f-2", 2, 3, 4)
    ends.run()
    assert stored(ends) == {"f-1": first, "f-2": second}
    assert ends.chunks[4:] == [PIECES[4]]


def test_an_inbox_that_has_lost_the_first_message_gets_the_second_whole(ends: Recorded) -> None:
    ask(ends, "f-1", 1, 2, 3)
    ends.run()
    ends.completed[0].claim().answered()  # type: ignore[union-attr]
    os.truncate(ends.completed[0].data_path, 0)  # as to make room
    second = ask(ends, "f-2", 2, 3, 4)
    ends.run()
    assert stored(ends)["f-2"] == second
    assert ends.chunks[4:] == [PIECES[number] for number in (0, 2, 3, 4)]


def test_a_piece_that_was_damaged_on_the_ground_is_sent_again(ends: Recorded) -> None:
    ask(ends, "f-1", 1, 2, 3)
    ends.run()
    data = bytearray(ends.completed[0].data_path.read_bytes())
    data[len(PIECES[0]) + 5] ^= 1
    ends.completed[0].data_path.write_bytes(data)
    second = ask(ends, "f-2", 1, 2)
    ends.run()
    assert stored(ends)["f-2"] == second
    assert ends.chunks[4:] == [PIECES[1]]


def test_a_message_does_not_depend_on_one_that_is_dropped(ends: Recorded) -> None:
    ask(ends, "f-1", 1, 2, 3)
    second = ask(ends, "f-2", 1, 2)
    ends.reply(ends.give(ends.take()[:2]))
    assert ends.outbox.refuse(ends.outbox.pending(1)[0])
    ends.sender.forget_settled()
    ends.run()
    assert stored(ends) == {"f-2": second}


def test_the_newest_first_overtakes_and_nothing_is_sent_twice(ends: Recorded) -> None:
    ends.outbox.order_again(SEND_ORDERS["newest"])
    first = ask(ends, "f-1", 1, 2, 3, 4)
    ends.reply(ends.give(ends.take()[:3]))
    second = ask(ends, "f-2", 4, 1)
    ends.run()
    assert [item.manifest.frame for item in ends.completed] == ["f-2", "f-1"]
    assert stored(ends) == {"f-1": first, "f-2": second}
    assert set(ends.chunks) == {PIECES[number] for number in (0, 1, 2, 3, 4)}


def test_an_older_ground_program_that_knows_of_no_pictures_gets_everything(ends: Recorded) -> None:
    """It reads the same manifests without the new fields; of whole frames the chunks are the same."""
    content = os.urandom(20_000)
    for number in range(2):
        ends.outbox.add_image(f"f-{number}", content, {}, picture=PICTURE)
    manifests = (decode_downward(payload) for payload in ends.take())
    first = next(message for message in manifests if isinstance(message, Manifest))
    assert (first.chunks, first.chunk_bytes) == (5, CHUNK_BYTES)


def test_pieces_are_cut_to_chunks_and_small_messages_are_not_cut() -> None:
    assert cut([3000, 9000, 100], 4096) == [3000, 4096, 4096, 808, 100]
    assert cut([3000, 1000], 4096) == []
    assert cut([], 4096) == []
    assert cut([10] * 2000, 4096) == [], "a manifest has a largest size"


def test_a_queue_counts_shared_bytes_once(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox", "Sat", CHUNK_BYTES)
    content = os.urandom(30_000)
    for number in range(3):
        outbox.add_image(f"f-{number}", content, {}, picture=PICTURE)
    assert outbox.own_bytes() == 30_000
    assert outbox.depth() == (3, 90_000)
    sender = Sender(outbox, Window(1e9), lambda *_, **__: None)
    sender.connected(0.1, 0.0)
    while sender.next_payload(0.0) is not None:
        pass
    assert sender.sent_bytes == pytest.approx(30_000, abs=1000)
