"""The contact watch on a real interface in a separate network namespace."""

from __future__ import annotations

import ctypes
import os
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nodes.contract.config import Station
from nodes.runtime.contact import CarrierWatch
from nodes.transfer.downlink import Downlink
from nodes.transfer.flow_control import chunk_size_bytes
from nodes.transfer.outbox import Outbox
from tests.support.nodes.ends import GroundEnd, Recorder, Relay
from tests.support.waiting import wait_for

pytestmark = pytest.mark.root
CLONE_NEWNET = 0x40000000


class Sky:
    """A veth pair in a namespace that lasts as long as one thread."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._thread.submit(self._make).result()
        self.watch = self._thread.submit(lambda: CarrierWatch("near")).result()

    def _make(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.unshare(CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        self._ip("link", "add", "near", "type", "veth", "peer", "name", "far")
        self._ip("link", "set", "near", "up")

    @staticmethod
    def _ip(*arguments: str) -> None:
        subprocess.run(["ip", *arguments], check=True)

    def carrier(self, up: bool) -> None:
        self._thread.submit(self._ip, "link", "set", "far", "up" if up else "down").result()

    def close(self) -> None:
        self.watch.close()
        self._thread.shutdown()


@pytest.fixture
def sky() -> Iterator[Sky]:
    made = Sky()
    yield made
    made.close()


def test_watch_follows_the_carrier(sky: Sky) -> None:
    assert not sky.watch.up()
    for up in (True, False, True, False):
        sky.carrier(up)
        changed_s = time.monotonic()
        wait_for(lambda up=up: sky.watch.up() is up, "change of carrier")  # type: ignore[misc]
        assert time.monotonic() - changed_s < 0.1


def test_missing_interface_is_no_contact() -> None:
    watch = CarrierWatch("nothere0")
    assert not watch.up()
    watch.close()


def test_transfer_over_three_contacts(
    sky: Sky, ground: GroundEnd, relay: Relay, image: Path, tmp_path: Path
) -> None:
    report = Recorder()
    rate_bit_s = 20e6
    outbox = Outbox(tmp_path / "outbox", "sat", chunk_size_bytes(rate_bit_s))
    outbox.add_image("dam", image, {"prompt": "what?"})
    downlink = Downlink(
        satellite="Sat",
        stations={Station(name="Ground", host="127.0.0.1", port=relay.port): sky.watch},
        outbox=outbox,
        rate_bit_s=rate_bit_s,
        report=report,
    )
    downlink.start()
    try:
        time.sleep(0.3)
        assert report.events[0]["event"] == "contact" and report.events[0]["up"] is False
        assert len(report.events) == 1 and relay.bytes_down == 0, "something was sent without contact"
        for goal_bytes in (1_500_000, 3_000_000):
            sky.carrier(True)
            wait_for(lambda goal=goal_bytes: relay.bytes_down > goal, "bytes")  # type: ignore[misc]
            sky.carrier(False)
            wait_for(lambda: downlink.contact_up["Ground"] is False, "end of contact")
        sky.carrier(True)
        wait_for(lambda: bool(report.of("delivered")), "delivery")
    finally:
        downlink.stop()
        downlink.join(5)
    assert downlink.failure is None
    assert ground.files() == {image.read_bytes(): 1}
    assert [event["up"] for event in report.of("contact")] == [False, True, False, True, False, True]
    assert len(report.of("connected")) == 3
    (finished,) = report.of("send_finished")
    chunk_bytes = chunk_size_bytes(rate_bit_s)
    assert finished["bytes_sent"] - 5_000_000 <= 2 * (downlink.window.largest_bytes + chunk_bytes)
    ups, connects = report.of("contact", up=True), report.of("connected")
    assert all(c["monotonic_s"] - u["monotonic_s"] < 0.2 for u, c in zip(ups, connects, strict=True))
