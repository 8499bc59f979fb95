"""A contact ends in the middle of a message of regions: what has come can be answered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nodes.onboard.message import read_regions, received_frame
from nodes.regions import Grid, pack
from nodes.regions.payload import Packed, difference
from nodes.transfer.inbox import Inbox, complete_items
from nodes.transfer.pieces.parts import Parts
from tests.unit.nodes.transfer.test_sender_and_receiver import Ends

PATIENCE_S = 5.0
SIDE_PX = 320


class Station(Ends):
    """Both ends, and the station's patience."""

    def restart_receiver(self) -> None:
        super().restart_receiver()
        self.inbox: Inbox = self.receiver._inbox
        self.parts = Parts(self.inbox, PATIENCE_S, self.report, lambda: self.now_s)
        self.receiver.on_part = self.parts.heard

    def wait(self, time_s: float) -> None:
        self.now_s += time_s
        self.parts.cut()

    def answered(self) -> list[Any]:
        """Answer what is complete, as the ground's program does."""
        found = []
        for item in self.inbox.unanswered():
            claim = item.claim()
            assert claim is not None
            found.append(read_regions(item.data_path))
            claim.answered()
        return found


@pytest.fixture
def ends(tmp_path: Path) -> Station:
    return Station(tmp_path)


@pytest.fixture(scope="module")
def packed() -> Packed:
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 255, (20, 20, 3), dtype=np.uint8))
    frame = coarse.resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC)
    return pack(frame, Grid(SIDE_PX, SIDE_PX), [float(index + 1) for index in range(16)], 10**6)


def send(ends: Station, packed: Packed, payloads: int) -> None:
    """Begin to send a message of regions; the contact ends after so many payloads."""
    sizes_bytes = [len(piece) for piece in packed.pieces]
    ends.outbox.add_image("f", packed.data, {"form": "regions"}, picture=bytes(16), pieces_bytes=sizes_bytes)
    ends.give(ends.take()[:payloads])


@pytest.mark.parametrize("regions", [0, 1, 5])
def test_a_contact_that_ends_in_the_middle_leaves_a_picture(
    ends: Station, packed: Packed, regions: int
) -> None:
    send(ends, packed, 2 + regions)
    ends.wait(PATIENCE_S - 1)
    assert ends.answered() == []
    assert ends.parts.next_cut_s() == ends.now_s + 1
    ends.wait(1)
    (picture,) = ends.answered()
    assert [region.index for region in picture.regions] == list(range(15, 15 - regions, -1))
    (event,) = ends.of("received")
    assert event["is_cut"] and event["size_bytes"] == sum(map(len, packed.pieces[: 1 + regions]))


def test_more_pieces_make_a_better_picture(ends: Station, packed: Packed) -> None:
    send(ends, packed, 6)
    ends.wait(PATIENCE_S)
    ((_, data),) = complete_items(ends.folder / "inbox")
    whole = ends.folder / "whole"
    whole.write_bytes(packed.data)
    overview = ends.folder / "overview"
    overview.write_bytes(packed.pieces[0])
    best, cut, worst = (received_frame("regions", path) for path in (whole, data, overview))
    assert 0 < difference(cut, best) < difference(worst, best)


def test_a_message_that_was_answered_in_part_is_not_answered_again(ends: Station, packed: Packed) -> None:
    send(ends, packed, 4)
    ends.wait(PATIENCE_S)
    assert len(ends.answered()) == 1
    ends.sender.connected(0.1, ends.now_s)
    ends.run()
    assert ends.sender.idle and ends.answered() == []
    assert ends.of("send_refused") == [] and len(ends.of("delivered")) == 1
    assert len(ends.of("received")) == 1


def test_a_next_contact_in_time_brings_the_whole_message(ends: Station, packed: Packed) -> None:
    send(ends, packed, 4)
    ends.now_s += PATIENCE_S - 2
    ends.sender.connected(0.1, ends.now_s)
    ends.run()
    ends.wait(10 * PATIENCE_S)
    (picture,) = ends.answered()
    assert len(picture.regions) == 16
    assert "is_cut" not in ends.of("received")[0]


def test_nothing_is_answered_without_the_overview(ends: Station, packed: Packed) -> None:
    send(ends, packed, 1)
    ends.wait(PATIENCE_S)
    ends.wait(PATIENCE_S)
    assert ends.answered() == [] and ends.of("received") == []


def test_a_station_that_was_started_again_answers_what_the_one_before_has_left(
    ends: Station, packed: Packed
) -> None:
    send(ends, packed, 4)
    ends.restart_receiver()
    ends.wait(0.1)
    ends.wait(PATIENCE_S)
    assert [len(picture.regions) for picture in ends.answered()] == [2]


def test_another_station_with_the_same_inbox_goes_by_what_was_cut(ends: Station, packed: Packed) -> None:
    send(ends, packed, 4)
    before = ends.receiver
    ends.restart_receiver()
    ends.wait(0.1)
    ends.wait(PATIENCE_S)
    ends.receiver = before  # the satellite comes back to the first station, which had the item open
    ends.sender.connected(0.1, ends.now_s)
    ends.run()
    assert [len(picture.regions) for picture in ends.answered()] == [2]
    assert ends.of("inbox_trouble") == []


def test_a_crash_before_the_cut_was_noted_costs_a_repeat_only(ends: Station, packed: Packed) -> None:
    send(ends, packed, 4)
    ends.wait(PATIENCE_S)
    next((ends.folder / "inbox").rglob("cut")).unlink()
    ends.restart_receiver()
    ends.answered()
    ends.sender.connected(0.1, ends.now_s)
    ends.run()
    (picture,) = ends.answered()
    assert len(picture.regions) == 16
