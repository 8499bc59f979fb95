"""Messages of a satellite that has gone wrong are refused and counted; the images of another one arrive.

The whole number takes some three minutes; CI sends fewer:

    MESSAGES=100000 .venv/bin/python -m pytest -s tests/integration/nodes/test_odd_items.py
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from testbed.mqtt.accounts import ground_account, satellite_account
from testbed.mqtt.broker import Broker, TcpListener, UnixListener
from testbed.network.programs import spawn
from tests.support.nodes.ends import GroundEnd, SatelliteEnd
from tests.support.nodes.odd_messages import odd_transfer
from tests.support.waiting import wait_for

MESSAGES = int(os.environ.get("MESSAGES", "3000"))
SEED = int(os.environ.get("SEED", "20261130"))
PER_S = 800  # below the limits of a satellite, so that each message is decoded
IMAGES = 5
IMAGE_BYTES = 200_000


@pytest.fixture
def ends(tmp_path: Path, port: int) -> Iterator[tuple[GroundEnd, SatelliteEnd, mqtt.Client]]:
    """The ground, a satellite, and the client of another satellite, each with its own account."""
    path = tmp_path / "broker.sock"
    good, bad, ground = satellite_account("sat"), satellite_account("b"), ground_account("g")
    with ExitStack() as stack:
        listeners = [TcpListener("127.0.0.1", port), UnixListener(path)]
        stack.enter_context(Broker(tmp_path / "broker", listeners, popen=spawn, accounts=[good, bad, ground]))
        receiving = GroundEnd(path, tmp_path / "inbox", ground)
        stack.callback(receiving.kill)
        sending = SatelliteEnd(tmp_path / "outbox", port, 40e6, good)
        stack.callback(sending.stop)
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="b", transport="unix")
        client.username_pw_set(bad.username, bad.password)
        client.connect(str(path))
        client.loop_start()
        stack.callback(client.loop_stop)
        stack.callback(client.disconnect)
        yield receiving, sending, client


def test_what_one_satellite_sends_changes_nothing_for_another(
    ends: tuple[GroundEnd, SatelliteEnd, mqtt.Client], tmp_path: Path
) -> None:
    ground, satellite, client = ends
    drawn = random.Random(SEED)  # noqa: S311 - seeded so that a failure can be repeated
    images: list[bytes] = []
    begin_s = time.monotonic()
    for number in range(MESSAGES):
        if number % (MESSAGES // IMAGES) == 0:
            images.append(os.urandom(IMAGE_BYTES))
            (tmp_path / "image").write_bytes(images[-1])
            satellite.add_image(f"image {len(images)}", tmp_path / "image")
        # Of itself mostly; what it says for the other one is refused by the broker.
        client.publish(*odd_transfer(drawn, "b" if drawn.random() < 0.9 else "sat"), qos=0)
        if number % 100 == 99:
            time.sleep(max(0.0, begin_s + number / PER_S - time.monotonic()))
    wait_for(lambda: len(satellite.of("delivered")) == len(images), "images of the other satellite", 60)
    assert client.is_connected()
    client.publish("spaceverse/down/b", b"last", qos=0)
    # Refusals are told once a second, with their number so far.
    time.sleep(1.5)
    client.publish("spaceverse/down/b", b"last", qos=0)
    wait_for(lambda: bool(ground.of("malformed", sender="b")), "refusals", 10)
    refused = [event["count"] for event in ground.of("malformed", sender="b")][-1]
    accepted = len(ground.of("heartbeat")) + len(ground.of("received"))
    print(
        f"{MESSAGES} messages in {time.monotonic() - begin_s:.0f} s: {refused} refused, {accepted} accepted"
    )
    assert refused > MESSAGES / 10 and accepted > MESSAGES / 100
    assert ground.of("malformed", sender="sat") == []
    assert ground.process.poll() is None, "the ground program has ended"
    assert ground.errors.read_text() == ""
    arrived = ground.files()
    assert [arrived.get(image) for image in images] == [1] * len(images)
    assert {event["frame"] for event in ground.of("received", satellite="sat")} == {
        f"image {number + 1}" for number in range(len(images))
    }
