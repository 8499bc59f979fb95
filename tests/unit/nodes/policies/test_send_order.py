"""Send orders: in the outbox, after a restart of it, and in the event model."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from nodes.contract.queueing import SendOrder
from nodes.lab.evaluation.event_model.downlink import Downlink
from nodes.onboard.link_forecast import ForecastRow, LinkForecast
from nodes.policies.send_order import SEND_ORDERS
from nodes.transfer.outbox import VALUE, Outbox
from tests.support.nodes.ends import Recorder

# name: (value, deadline in seconds), in the order of capture
FRAMES: dict[str, tuple[float, float | None]] = {
    "a": (1.0, None),
    "b": (3.0, 90.0),
    "c": (0.0, 50.0),
    "d": (3.0, None),
}
EXPECTED: dict[SendOrder, str] = {"oldest": "abcd", "newest": "dcba", "value": "bdac", "deadline": "cbad"}
SIZE_BYTES = 20_000


def outbox(folder: Path, order: SendOrder, *, limit_bytes: int = 1 << 30, report: Recorder) -> Outbox:
    return Outbox(folder, "sat", 4096, limit_bytes=limit_bytes, send_key=SEND_ORDERS[order], report=report)


def add(box: Outbox, name: str) -> None:
    value, expires_s = FRAMES[name]
    box.add_image(name, name.encode() * SIZE_BYTES, {VALUE: value}, expires_s=expires_s)


def sent(box: Outbox) -> str:
    return "".join(item.manifest.frame for item in box.pending(9))


def test_every_order_has_a_key() -> None:
    assert set(SEND_ORDERS) == set(get_args(SendOrder)) == set(EXPECTED)


@pytest.mark.parametrize("order", EXPECTED)
def test_images_are_sent_in_their_order_also_after_a_restart(order: SendOrder, tmp_path: Path) -> None:
    box = outbox(tmp_path, order, report=Recorder())
    for name in FRAMES:
        add(box, name)
    assert sent(box) == EXPECTED[order]
    box.add_answer("e", b"yes", {})
    again = outbox(tmp_path, order, report=Recorder())
    assert sent(again) == "e" + EXPECTED[order], "an answer goes before all images"


@pytest.mark.parametrize("order", EXPECTED)
def test_a_full_outbox_drops_the_least_valuable_image(order: SendOrder, tmp_path: Path) -> None:
    log = Recorder()
    box = outbox(tmp_path, order, limit_bytes=3 * SIZE_BYTES, report=log)
    for name in FRAMES:
        add(box, name)
    assert [event["frame"] for event in log.of("dropped")] == ["c"]
    assert sent(box) == EXPECTED[order].replace("c", "")


def test_a_foreign_value_counts_as_none(tmp_path: Path) -> None:
    box = outbox(tmp_path, "value", report=Recorder())
    box.add_image("a", b"x" * SIZE_BYTES, {VALUE: "high"})
    box.add_image("b", b"y" * SIZE_BYTES, {VALUE: 2.0})
    assert sent(box) == "ba"


@pytest.mark.parametrize("order", EXPECTED)
def test_the_event_model_sends_in_the_same_order(order: SendOrder) -> None:
    rows = [ForecastRow(0.0, False, 0.0, 0.0, 0.0), ForecastRow(10.0, True, 1e6, 0.005, 0.005)]
    downlink = Downlink(LinkForecast(rows, 100.0), 1e6, send_order=order)
    for number, (name, (value, deadline_s)) in enumerate(FRAMES.items()):
        downlink.add(name, "image", SIZE_BYTES, float(number), value=value, deadline_s=deadline_s)
    downlink.advance(100.0)
    assert "".join(sorted(FRAMES, key=lambda name: received_s(downlink, name))) == EXPECTED[order]


def test_a_newer_image_overtakes_one_that_was_begun() -> None:
    rows = [ForecastRow(0.0, True, 1e6, 0.005, 0.005)]
    downlink = Downlink(LinkForecast(rows, 100.0), 1e6, send_order="newest")
    downlink.add("old", "image", 500_000, 0.0)
    downlink.add("new", "image", SIZE_BYTES, 1.0)
    downlink.advance(100.0)
    assert received_s(downlink, "new") < 2.0 < received_s(downlink, "old")


def received_s(downlink: Downlink, name: str) -> float:
    (item,) = (item for item in downlink.items if item.name == name)
    assert item.received_s is not None
    return item.received_s
