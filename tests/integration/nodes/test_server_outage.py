"""A ground program whose model server stops and restarts, with real processes and MQTT."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from PIL import Image

from nodes.models import COMPACT
from nodes.runtime.inference import OUTAGE_WAIT_S
from testbed.mqtt.broker import Broker
from tests.support.nodes.asking_ground import AskingGround
from tests.support.nodes.ends import SatelliteEnd, free_port
from tests.support.openai_server import served
from tests.support.waiting import wait_for

READY_S = 60


@pytest.fixture
def server() -> Iterator[ExitStack]:
    """What holds the server; closing it kills the server."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def station(server: ExitStack, broker: Broker, tmp_path: Path) -> Iterator[tuple[AskingGround, int]]:
    """(a ground program that is ready, the port of its model's server)."""
    port = free_port()
    ground = AskingGround(tmp_path, server.enter_context(served(COMPACT, port)))
    try:
        wait_for(lambda: bool(ground.of("ready")), "model", READY_S)
        yield ground, port
    finally:
        ground.close()


def test_images_wait_for_a_server_that_is_away(
    station: tuple[AskingGround, int], server: ExitStack, satellite: SatelliteEnd, tmp_path: Path
) -> None:
    ground, port = station
    whole, broken = tmp_path / "whole.png", tmp_path / "broken.png"
    Image.new("RGB", (56, 56), (90, 120, 60)).save(whole)
    broken.write_bytes(b"this was an image once" * 400)
    satellite.add_image("before", whole)
    wait_for(lambda: bool(ground.of("answered", frame="before")), "an answer of the server")

    server.close()
    for frame, image in (("first", whole), ("second", whole), ("broken", broken)):
        satellite.add_image(frame, image)
    wait_for(lambda: len(ground.of("inference_started", frame="first")) > 1, "another try", 20)
    wait_for(lambda: bool(ground.of("inference_started", frame="second")), "the other image", 20)
    wait_for(lambda: bool(ground.of("refused")), "a word about what is no image", 20)
    assert {event["frame"] for event in ground.of("refused")} == {"broken"}
    told = [event for event in ground.of("inference_failed") if event["frame"] != "broken"]
    assert len(told) == 1, "an outage is told once"
    assert "no server answers" in told[0]["reason"]
    tries = [e["monotonic_s"] for e in ground.of("inference_started") if e["frame"] in ("first", "second")]
    assert tries[-1] - tries[0] > 0.9 * OUTAGE_WAIT_S * (len(tries) - 1), "it hammers at the server"
    # The refused one is settled once the run's broker has the word about it.
    wait_for(lambda: len(list(ground.inbox.glob("*/*/unanswered"))) == 2, "the settled item")

    server.enter_context(served(COMPACT, port))
    for frame in ("first", "second"):
        wait_for(lambda frame=frame: bool(ground.of("answered", frame=frame)), "its answer", 30)  # type: ignore[misc]
    time.sleep(2 * OUTAGE_WAIT_S)
    assert len(ground.of("answered")) == 3, "one was answered twice"
    assert {event["frame"] for event in ground.of("refused")} == {"broken"}
    wait_for(lambda: not list(ground.inbox.glob("*/*/unanswered")), "the settled items")
