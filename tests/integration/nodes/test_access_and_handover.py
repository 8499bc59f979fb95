"""A satellite's connections to several stations: TLS, passwords, IPv6, handover."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import trustme
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from nodes.contract.config import BrokerAddress, MqttAccess, Station
from nodes.runtime.mqtt import make_client
from nodes.transfer.downlink import Downlink
from nodes.transfer.outbox import Outbox
from testbed.network.programs import spawn
from tests.support.nodes.ends import GroundEnd, Recorder, free_port
from tests.support.waiting import wait_for

CHUNK_BYTES = 16 * 1024
IMAGE_BYTES = 3_000_000


class Switch:
    """A contact that the test makes and ends."""

    def __init__(self, up: bool = False) -> None:
        self.is_up = up

    def up(self) -> bool:
        return self.is_up


class Mosquitto:
    """A broker with the configuration that a test needs."""

    def __init__(self, folder: Path, lines: list[str], port: int, host: str = "127.0.0.1") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.unix_socket = folder / "m.sock"
        config = folder / "mosquitto.conf"
        config.write_text("\n".join([*lines, ""]))
        # Root gives its rights up by default, and then cannot read the key.
        self.process = spawn(["mosquitto", "-c", str(config)], stderr=subprocess.DEVNULL)
        self._host, self._port = host, port
        wait_for(self._accepts, "broker")

    def _accepts(self) -> bool:
        try:
            socket.create_connection((self._host, self._port), timeout=0.2).close()
        except OSError:
            return False
        return True

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


def satellite_thread(
    folder: Path, stations: dict[Station, Switch], report: Recorder
) -> tuple[Downlink, Outbox]:
    outbox = Outbox(folder / "outbox", "sat", CHUNK_BYTES, report=report)
    downlink = Downlink(
        satellite="Sat", stations=stations, outbox=outbox, rate_bit_s=8e6, report=report, heartbeat_s=0.1
    )
    downlink.start()
    return downlink, outbox


def stop(downlink: Downlink) -> None:
    downlink.stop()
    downlink.join(5)
    assert downlink.failure is None, repr(downlink.failure)


def image(folder: Path) -> Path:
    path = folder / "image.bin"
    path.write_bytes(os.urandom(IMAGE_BYTES))
    return path


def certificate(folder: Path, host: str) -> Path:
    """An authority, a key and a certificate for a host; the folder."""
    folder.mkdir()
    authority = trustme.CA()
    issued = authority.issue_cert(host, not_after=datetime.now(timezone.utc) + timedelta(days=2))
    authority.cert_pem.write_to_path(folder / "ca.pem")
    issued.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    return folder


def access(username: str, password: str) -> MqttAccess:
    return MqttAccess(username=username, password=password)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


def plain(port: int, folder: Path, address: str = "127.0.0.1") -> list[str]:
    return [f"listener {port} {address}", f"listener 0 {folder}/m.sock", "allow_anonymous true", "user root"]


def test_image_begun_at_one_station_ends_at_the_other(tmp_path: Path, stack: ExitStack) -> None:
    report, switches, grounds = Recorder(), {}, []
    for name in ("One", "Other"):
        port = free_port()
        broker = Mosquitto(tmp_path / name, plain(port, tmp_path / name), port)
        stack.callback(broker.stop)
        ground = GroundEnd(broker.unix_socket, tmp_path / "inbox")
        stack.callback(ground.kill)
        grounds.append(ground)
        switches[Station(name=name, host="127.0.0.1", port=port)] = Switch()
    one, other = switches.values()
    downlink, outbox = satellite_thread(tmp_path, switches, report)
    stack.callback(stop, downlink)
    content = image(tmp_path)
    outbox.add_image("dam", content, {"prompt": "what?"})
    time.sleep(0.2)
    assert report.of("connected") == []
    one.is_up = True
    wait_for(
        lambda: sum(p.stat().st_size for p in tmp_path.glob("inbox/*/*/part")) > IMAGE_BYTES // 3, "part"
    )
    one.is_up = False
    grounds[0].kill()  # and its program dies besides
    other.is_up = True
    wait_for(lambda: bool(report.of("delivered", frame="dam")), "delivery", 20)
    assert [e["station"] for e in report.of("connected")] == ["One", "Other"]
    assert [len(ground.of("received", sha256_ok=True)) for ground in grounds] == [0, 1]
    assert grounds[1].files() == {content.read_bytes(): 1}
    (finished,) = report.of("send_finished")
    assert finished["bytes_sent"] - IMAGE_BYTES * 1.01 <= downlink.window.largest_bytes + CHUNK_BYTES
    wait_for(lambda: bool(grounds[1].of("heartbeat")), "heartbeat")
    assert grounds[1].of("heartbeat")[-1]["satellite"] == "sat"


def test_tls_and_passwords_keep_strangers_out(tmp_path: Path, stack: ExitStack) -> None:
    port = free_port()
    keys = certificate(tmp_path / "keys", "127.0.0.1")
    folder = tmp_path / "broker"
    folder.mkdir()
    passwords = folder / "passwords"
    passwords.touch()
    for name in ("sat", "sat.express", "ground"):
        secret = f"{name.partition('.')[0]}-secret"
        subprocess.run(["mosquitto_passwd", "-b", str(passwords), name, secret], check=True)
    (folder / "acl").write_text(
        "user sat\ntopic write spaceverse/down/sat\n"
        "topic read spaceverse/up\ntopic read spaceverse/up/sat\n"
        "user sat.express\ntopic write spaceverse/down/sat/express\n"
        "user ground\ntopic read spaceverse/down/#\ntopic write spaceverse/up\ntopic write spaceverse/up/#\n"
    )
    lines = [
        *(f"listener {port} 127.0.0.1", f"certfile {keys}/cert.pem", f"keyfile {keys}/key.pem"),
        *("allow_anonymous false", f"password_file {passwords}", f"acl_file {folder}/acl", "user root"),
    ]
    stack.callback(Mosquitto(folder, lines, port).stop)
    ground = BrokerAddress(
        host="127.0.0.1", port=port, access=access("ground", "ground-secret"), ca_file=keys / "ca.pem"
    )
    heard: list[str] = []
    subscribed = threading.Event()
    listener = make_client("listener", ground)
    listener.on_message = lambda *a: heard.append(a[2].topic)
    listener.on_connect = lambda client, *a: client.subscribe("spaceverse/down/#")
    listener.on_subscribe = lambda *a: subscribed.set()
    listener.connect("127.0.0.1", port)
    listener.loop_start()
    stack.callback(listener.loop_stop)
    assert subscribed.wait(5)

    def heartbeats(station: Station, name: str) -> Recorder:
        report = Recorder()
        downlink, _ = satellite_thread(tmp_path / name, {station: Switch(True)}, report)
        stack.callback(stop, downlink)
        return report

    good = access("sat", "sat-secret")
    honest = Station(name="S", host="127.0.0.1", port=port, access=good, ca_file=keys / "ca.pem")
    refused = {
        "anonymous": honest.model_copy(update={"access": None}),
        "wrong": honest.model_copy(update={"access": access("sat", "guess")}),
        "impostor": honest.model_copy(
            update={"ca_file": certificate(tmp_path / "others", "127.0.0.1") / "ca.pem"}
        ),
    }
    reports = {name: heartbeats(station, name) for name, station in refused.items()}
    for name, report in reports.items():
        wait_for(lambda report=report: bool(report.of("connection_refused")), name)  # type: ignore[misc]
        assert report.of("connected") == []
        assert len(report.of("connection_refused")) < 10, "a flood of attempts"
    assert "certificate" in reports["impostor"].of("connection_refused")[0]["reason"].lower()
    assert heard == []
    heartbeats(honest, "honest")
    wait_for(lambda: "spaceverse/down/sat/express" in heard, "heartbeat over TLS")
    spy = make_client("spy", BrokerAddress(host="127.0.0.1", port=port, access=good, ca_file=keys / "ca.pem"))
    spy.connect("127.0.0.1", port)
    spy.loop_start()
    stack.callback(spy.loop_stop)
    spy.publish("spaceverse/down/other", b"not mine", qos=1).wait_for_publish(5)
    assert "spaceverse/down/other" not in heard


def test_station_with_an_ipv6_address(tmp_path: Path, stack: ExitStack) -> None:
    port = free_port()
    broker = Mosquitto(tmp_path / "b", plain(port, tmp_path / "b", "::1"), port, "::1")
    stack.callback(broker.stop)
    ground = GroundEnd(broker.unix_socket, tmp_path / "inbox")
    stack.callback(ground.kill)
    report = Recorder()
    station = Station(name="S", host="::1", port=port)
    downlink, outbox = satellite_thread(tmp_path, {station: Switch(True)}, report)
    stack.callback(stop, downlink)
    outbox.add_answer("dam", b"yes", {})
    downlink.wake()
    wait_for(lambda: bool(report.of("delivered", frame="dam")), "delivery over IPv6")


def test_ten_thousand_malformed_payloads_change_nothing_and_are_counted(
    tmp_path: Path, stack: ExitStack
) -> None:
    noise = random.Random(3)  # noqa: S311
    port = free_port()
    broker = Mosquitto(tmp_path / "b", plain(port, tmp_path / "b"), port)
    stack.callback(broker.stop)
    ground = GroundEnd(broker.unix_socket, tmp_path / "inbox")
    stack.callback(ground.kill)
    report = Recorder()
    station = Station(name="S", host="127.0.0.1", port=port)
    downlink, outbox = satellite_thread(tmp_path, {station: Switch(True)}, report)
    stack.callback(stop, downlink)
    real = b"\x84\xa1v\x01\xa1t\xa5chunk\xa2id\xc4\x10" + bytes(16)
    stranger = Client(CallbackAPIVersion.VERSION2, client_id="stranger")
    stranger.connect("127.0.0.1", port)
    stranger.loop_start()
    stack.callback(stranger.loop_stop)
    for number in range(10_000):
        payload = noise.randbytes(noise.randrange(1, 200)) if number % 2 else real[: noise.randrange(1, 30)]
        # QoS 1 paces the stranger: a broker may throw away what it cannot pass on at once.
        info = stranger.publish("spaceverse/down/sat", payload, qos=1)
        if number % 100 == 99:
            info.wait_for_publish(10)
    content = image(tmp_path)
    outbox.add_image("dam", content, {"prompt": "what?"})
    wait_for(lambda: bool(report.of("delivered", frame="dam")), "delivery", 20)
    # The stranger uses the satellite's own topic, whose limits may have cost the satellite repeats, too.
    wait_for(lambda: 10_000 <= ground.of("malformed")[-1]["count"] < 10_500, "all refusals", 20)
    assert len(ground.of("malformed")) < 60, "a flood of events"
    assert ground.files() == {content.read_bytes(): 1}
    assert len(list((tmp_path / "inbox").glob("*/*/data"))) == 1
