"""A satellite tells what it has on board, where it is asked to."""

from __future__ import annotations

from pathlib import Path

import pytest

from nodes.contract.events import Event, QueueReported
from nodes.transfer.downlink import Downlink
from nodes.transfer.outbox import Outbox
from tests.support.waiting import wait_for


class Told(list[Event]):
    """Events of a node."""

    def __call__(self, event: Event, *, monotonic_s: float | None = None) -> None:
        self.append(event)


class Fast:
    """Scenario time that runs a hundred times as fast as real time."""

    def now_s(self) -> float:
        return 0.0

    def speed(self) -> float:
        return 100.0


@pytest.mark.parametrize("every_s", [1.0, None])
def test_the_queue_is_told_once_per_change(tmp_path: Path, every_s: float | None) -> None:
    outbox, told = Outbox(tmp_path / "outbox", "s", 1000), Told()
    outbox.add_image("a", b"x" * 3000, {"prompt": "?"})
    outbox.add_image("b", b"x" * 500, {"prompt": "?", "value": 4.0}, expires_s=60.0)
    outbox.add_answer("c", b"yes", {}, expires_s=90.0)
    downlink = Downlink(satellite="S", stations={}, outbox=outbox, rate_bit_s=1e6, report=told, clock=Fast())
    downlink.queue_every_s = every_s
    downlink.start()
    try:
        if every_s is not None:
            wait_for(lambda: told, "the queue is told")
        downlink.join(0.15)  # fifteen seconds of scenario time
    finally:
        downlink.stop()
        downlink.join(5)
    queue = QueueReported(items=3, size_bytes=3503, best_value=4.0, deadline_s=60.0, sending=False)
    assert told == ([] if every_s is None else [queue])
