"""The transfer protocol over a real mosquitto: no item is lost or duplicated, whatever is killed."""

from __future__ import annotations

import hashlib
import os
import random
import time
from pathlib import Path

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from nodes.contract import topics
from nodes.transfer.messages import Chunk, Manifest, encode, item_id
from testbed.mqtt.broker import Broker
from tests.support.nodes.ends import GroundEnd, Relay, SatelliteEnd
from tests.support.waiting import wait_for

IMAGE_BYTES = 5_000_000
HALF_BYTES = IMAGE_BYTES // 2


def finish(satellite: SatelliteEnd, frame: str, what: str = "image") -> None:
    wait_for(lambda: bool(satellite.of("delivered", frame=frame, what=what)), f"delivery of {frame}", 20)


def half_way(relay: Relay) -> None:
    wait_for(lambda: relay.bytes_down > HALF_BYTES, "half of the image on the line")


def resent_bytes(satellite: SatelliteEnd) -> int:
    """Bytes that went to the socket more than once, manifests and envelopes included."""
    (finished,) = satellite.of("send_finished")
    assert finished["resent_chunks"] > 0, "the fault came too late to test anything"
    return int(finished["bytes_sent"]) - IMAGE_BYTES


def test_image_arrives_intact(satellite: SatelliteEnd, ground: GroundEnd, image: Path) -> None:
    satellite.add_image("dam", image)
    finish(satellite, "dam")
    assert ground.files() == {image.read_bytes(): 1}
    (received,) = ground.of("received")
    (started,), (finished,) = satellite.of("send_started"), satellite.of("send_finished")
    assert received["sha256_ok"] and received["size_bytes"] == IMAGE_BYTES
    assert started["monotonic_s"] < ground.of("received_first")[0]["monotonic_s"] < received["monotonic_s"]
    assert started["monotonic_s"] < finished["monotonic_s"] < received["monotonic_s"]
    assert finished["resent_chunks"] == 0


def test_receiver_killed_in_the_middle_resumes(
    satellite: SatelliteEnd, ground: GroundEnd, relay: Relay, image: Path
) -> None:
    satellite.add_image("dam", image)
    half_way(relay)
    ground.kill()
    ground.start()
    finish(satellite, "dam")
    assert ground.files() == {image.read_bytes(): 1}
    assert resent_bytes(satellite) <= satellite.largest_window_bytes()


def test_broker_restarted_in_the_middle_resumes(
    satellite: SatelliteEnd, ground: GroundEnd, relay: Relay, image: Path, broker: Broker
) -> None:
    satellite.add_image("dam", image)
    half_way(relay)
    broker.stop()
    broker.start()
    finish(satellite, "dam")
    assert ground.files() == {image.read_bytes(): 1}
    assert resent_bytes(satellite) <= satellite.largest_window_bytes()


def test_satellite_restarted_in_the_middle_resumes(
    satellite: SatelliteEnd, ground: GroundEnd, relay: Relay, image: Path
) -> None:
    satellite.add_image("dam", image)
    half_way(relay)
    satellite.stop()
    satellite.start()
    finish(satellite, "dam")
    assert ground.files() == {image.read_bytes(): 1}
    assert relay.bytes_down < IMAGE_BYTES * 1.02 + satellite.largest_window_bytes()
    assert not satellite.outbox.add_image("dam", image, {}), "a delivered frame must not be sent again"


def test_receiver_that_was_never_there_gets_all_when_it_comes(
    satellite: SatelliteEnd, broker: Broker, image: Path, tmp_path: Path
) -> None:
    satellite.add_image("dam", image)
    wait_for(lambda: bool(satellite.of("send_started")), "start")
    time.sleep(0.5)
    end = GroundEnd(tmp_path / "broker.sock", tmp_path / "inbox")
    try:
        finish(satellite, "dam")
        assert end.files() == {image.read_bytes(): 1}
    finally:
        end.kill()


def test_answers_overtake_images(
    satellite: SatelliteEnd, ground: GroundEnd, relay: Relay, image: Path
) -> None:
    satellite.add_image("dam", image)
    half_way(relay)
    asked_s = time.monotonic()
    satellite.add_answer("ship", b"3 vessels")
    finish(satellite, "ship", "answer")
    assert not satellite.of("delivered", what="image"), "the image was through before: nothing was overtaken"
    (received,) = ground.of("received", what="answer")
    assert received["monotonic_s"] - asked_s < 0.5
    finish(satellite, "dam")
    assert ground.files() == {image.read_bytes(): 1, b"3 vessels": 1}


def test_chunk_corrupted_in_the_inbox_is_sent_again(
    satellite: SatelliteEnd, ground: GroundEnd, relay: Relay, image: Path
) -> None:
    satellite.add_image("dam", image)
    half_way(relay)
    (part,) = ground.inbox.glob("*/*/part")
    with part.open("r+b") as file:
        file.write(bytes(4096))
    finish(satellite, "dam")
    assert [event["sha256_ok"] for event in ground.of("received")] == [False, True]
    assert ground.files() == {image.read_bytes(): 1}


def test_image_corrupted_in_the_outbox_is_refused(
    satellite: SatelliteEnd, ground: GroundEnd, tmp_path: Path
) -> None:
    image = tmp_path / "small.bin"
    image.write_bytes(os.urandom(300_000))
    satellite.stop()
    satellite.add_image("dam", image)
    (data,) = (tmp_path / "outbox" / "pending").glob("*/data")
    with data.open("r+b") as file:
        file.write(bytes(64))
    satellite.start()
    wait_for(lambda: bool(satellite.of("send_refused", frame="dam")), "refusal")
    assert "sha256" in satellite.of("send_refused", frame="dam")[0]["reason"]
    assert ground.of("received") == [], "damage that the satellite can see must not cost a transfer"
    assert ground.files() == {}
    assert satellite.outbox.pending(1) == []


def by_hand(port: int) -> Client:
    client = Client(CallbackAPIVersion.VERSION2, client_id="by-hand")
    client.connect("127.0.0.1", port)
    client.loop_start()
    return client


def test_chunks_repeated_and_reordered_by_hand(ground: GroundEnd, port: int, tmp_path: Path) -> None:
    content = os.urandom(50_000)
    sha256 = hashlib.sha256(content).digest()
    manifest = Manifest(
        item_id=item_id("hand", "image", "dam", sha256),
        kind="image",
        frame="dam",
        size_bytes=len(content),
        sha256=sha256,
        chunk_bytes=4096,
        priority=1,
        metadata={"prompt": "what?"},
        query=1,
    )
    offsets = list(range(0, len(content), 4096)) * 2
    random.Random(7).shuffle(offsets)  # noqa: S311
    payloads = [encode(manifest)]
    payloads += [encode(Chunk(manifest.item_id, o, content[o : o + 4096])) for o in offsets]
    client = by_hand(port)
    for payload in payloads * 2:
        client.publish(topics.down("hand"), payload)
    wait_for(lambda: ground.files() == {content: 1}, "image")
    client.publish(topics.down("hand"), b"last").wait_for_publish(5)
    wait_for(lambda: bool(ground.of("malformed")), "last message")
    client.disconnect()
    client.loop_stop()
    assert len(ground.of("received")) == 1


def test_malformed_payloads_are_refused_and_counted(
    satellite: SatelliteEnd, ground: GroundEnd, port: int, image: Path
) -> None:
    noise = random.Random(1)  # noqa: S311
    client = by_hand(port)
    satellite.add_image("dam", image)
    for _ in range(300):
        client.publish(topics.down("sat"), noise.randbytes(noise.randrange(400)))
        client.publish(topics.up("sat"), noise.randbytes(noise.randrange(400)))
    finish(satellite, "dam")
    assert ground.files() == {image.read_bytes(): 1}
    for end in (ground, satellite):
        wait_for(lambda end=end: end.of("malformed")[-1]["count"] == 300, "all refusals")  # type: ignore[misc]
        assert len(end.of("malformed")) < 30, "a flood of events"
    client.disconnect()
    client.loop_stop()
