"""Clients without an account, with a foreign account or with garbage change nothing; refusals are counted."""

from __future__ import annotations

import os
import random
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from nodes.contract.config import BrokerAddress, MqttAccess, Station
from nodes.runtime.contact import CarrierWatch
from nodes.transfer.downlink import Downlink
from nodes.transfer.flow_control import chunk_size_bytes
from nodes.transfer.inbox import Inbox
from nodes.transfer.outbox import Outbox
from nodes.transfer.station import StationLink
from testbed.mqtt.accounts import Account, ground_account, node_account, run_account, satellite_account
from testbed.mqtt.broker import Broker, BrokerError, TcpListener, UnixListener
from testbed.mqtt.broker_watch import BrokerWatch
from testbed.mqtt.certificates import Authority
from testbed.network.programs import spawn
from tests.support.nodes.ends import Recorder, free_port
from tests.support.waiting import wait_for

RATE_BIT_S = 40e6
RUBBISH = 10_000


class Place:
    """A station's broker with the accounts of a run, its ground end and satellite A; satellite B is away."""

    def __init__(self, stack: ExitStack, folder: Path, *, tls: bool) -> None:
        self.port = free_port()
        self.a, self.b, self.ground = satellite_account("a"), satellite_account("b"), ground_account("g")
        authority = Authority(folder / "tls") if tls else None
        certificate = authority.issue("g", ["127.0.0.1"]) if authority else None
        self.ca_file = authority.certificate if authority else None
        self.events = Recorder()
        self.broker = stack.enter_context(
            Broker(
                folder / "broker",
                [TcpListener("127.0.0.1", self.port, certificate), UnixListener(folder / "socket")],
                popen=spawn,
                accounts=[self.a, self.b, self.ground],
            )
        )
        self.watch = BrokerWatch(self.broker, self.events)
        self.station, self.satellite = Recorder(), Recorder()
        self.inbox = folder / "inbox"
        link = StationLink(
            name="G",
            broker=BrokerAddress(unix_socket=folder / "socket", access=access(self.ground)),
            inbox=Inbox(self.inbox),
            report=self.station,
            on_complete=lambda item: None,
        )
        self.outbox = Outbox(folder / "outbox", "a", chunk_size_bytes(RATE_BIT_S))
        station = Station(
            name="G", host="127.0.0.1", port=self.port, access=access(self.a), ca_file=self.ca_file
        )
        self.downlink = Downlink(
            satellite="A",
            stations={station: CarrierWatch(None)},
            outbox=self.outbox,
            rate_bit_s=RATE_BIT_S,
            report=self.satellite,
        )
        self._stack = stack
        for thread in (link, self.downlink):
            thread.start()
            stack.callback(thread.join, 5)
            stack.callback(thread.stop)
        wait_for(lambda: bool(self.station.of("connected") and self.satellite.of("connected")), "both ends")

    def client(self, client_id: str, account: Account | None) -> Client:
        """Somebody at the broker's door."""
        client = Client(CallbackAPIVersion.VERSION2, client_id=client_id)
        client.max_queued_messages_set(0)
        if account is not None:
            client.username_pw_set(account.username, account.password)
        if self.ca_file is not None:
            client.tls_set(str(self.ca_file))
        client.connect("127.0.0.1", self.port)
        client.loop_start()
        self._stack.callback(client.loop_stop)
        self._stack.callback(client.disconnect)
        return client

    def refused(self, kind: str) -> int:
        """How many refusals of this kind the broker's log tells so far."""
        self.watch.look(last=True)
        return self.watch.refusals[kind]

    def files(self) -> list[bytes]:
        """What is complete on the ground."""
        return [path.read_bytes() for path in self.inbox.glob("*/*/data")]

    def still_delivers(self, folder: Path, name: str) -> None:
        """The satellite's image arrives, and nothing else is there than before, and it."""
        before = self.files()
        image = folder / name
        image.write_bytes(os.urandom(300_000))
        self.outbox.add_image(name, image, {"prompt": "?"})
        self.downlink.wake()
        wait_for(lambda: bool(self.satellite.of("delivered", frame=name)), "delivery", 30)
        assert sorted(self.files()) == sorted([*before, image.read_bytes()])


def access(account: Account) -> MqttAccess:
    return MqttAccess(username=account.username, password=account.password)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def place(request: pytest.FixtureRequest, stack: ExitStack, tmp_path: Path) -> Place:
    return Place(stack, tmp_path, tls=request.param)


def until(count: Callable[[], int], wanted: int, what: str) -> None:
    wait_for(lambda: count() >= wanted, what, 60)
    assert count() == wanted, what


def test_without_credentials_or_with_wrong_ones_nobody_comes_in(place: Place, tmp_path: Path) -> None:
    wrong = Account("a", writes=(), reads=())  # the right name; the password is drawn anew
    for client_id, account in (("stranger", None), ("a", wrong), ("g-ground", None)):
        client = place.client(client_id, account)
        client.publish("spaceverse/down/a", b"x")
        time.sleep(0.2)
        client.loop_stop()
    until(lambda: place.refused("login"), 3, "refused logins")
    assert place.satellite.of("disconnected") == place.station.of("disconnected") == []
    place.still_delivers(tmp_path, "image")
    assert place.station.of("malformed") == []
    told = place.events.of("broker_refused", kind="login")
    assert told[-1]["count"] == 3


def test_a_satellite_cannot_write_for_another_nor_read_its_topics(place: Place, tmp_path: Path) -> None:
    b = place.client("b", place.b)
    heard: list[str] = []
    b.on_message = lambda client, userdata, message: heard.append(message.topic)
    b.subscribe([("#", 0), ("spaceverse/up/a", 0), ("spaceverse/down/a", 0)])
    topics = ["down/a", "down/a/express", "up", "up/a", "up/b", "down"]
    for topic in topics:
        b.publish(f"spaceverse/{topic}", b"not yours", qos=1).wait_for_publish(5)
    until(lambda: place.refused("publication"), len(topics), "refused publications")
    place.still_delivers(tmp_path, "image")
    assert place.station.of("malformed") == place.satellite.of("malformed") == []
    assert set(heard) <= {"spaceverse/up"}
    b.publish("spaceverse/down/b", b"mine, if malformed", qos=1).wait_for_publish(5)
    wait_for(lambda: bool(place.station.of("malformed", sender="b")), "own topic")


@pytest.mark.parametrize("taken", ["a", "a.express", "g", "G-ground"])
def test_nobody_ends_a_session_by_taking_its_client_id(place: Place, tmp_path: Path, taken: str) -> None:
    thief = place.client(taken, place.b)
    wait_for(thief.is_connected, "the thief's connection")
    place.still_delivers(tmp_path, "image")
    assert place.satellite.of("disconnected") == place.station.of("disconnected") == []
    assert thief.is_connected(), "under a name of its own"


def test_ten_thousand_malformed_payloads_change_nothing(stack: ExitStack, tmp_path: Path) -> None:
    place = Place(stack, tmp_path, tls=False)
    drawn = random.Random(5)  # noqa: S311 - to be repeated
    b = place.client("b", place.b)
    for number in range(RUBBISH):
        info = b.publish("spaceverse/down/b", drawn.randbytes(drawn.randrange(600)), qos=1)
        if number % 500 == 499:
            info.wait_for_publish(30)
    place.still_delivers(tmp_path, "image")
    told = place.station
    wait_for(lambda: told.of("malformed", sender="b")[-1]["count"] == RUBBISH, "all counted", 30)
    assert {path.name for path in place.inbox.iterdir()} == {"a"}


def test_random_bytes_instead_of_mqtt_are_counted(stack: ExitStack, tmp_path: Path) -> None:
    place = Place(stack, tmp_path, tls=False)
    drawn = random.Random(6)  # noqa: S311 - to be repeated
    for _ in range(200):
        with socket.create_connection(("127.0.0.1", place.port), 5) as door:
            # 0x10 is CONNECT, whose protocol name is then wrong; what is not CONNECT is refused as well.
            body = drawn.randbytes(100)
            door.sendall(bytes([0x10, len(body)]) + body)
            door.settimeout(5)
            with suppress(ConnectionResetError):
                assert door.recv(1) in (b"", b"\x20")
    until(lambda: place.refused("packet") + place.refused("login"), 200, "refused packets")
    place.still_delivers(tmp_path, "image")


def test_nodes_write_their_own_events_only(stack: ExitStack, tmp_path: Path) -> None:
    run, a, b = run_account(), node_account("a"), node_account("b")
    broker = stack.enter_context(
        Broker(tmp_path, [UnixListener(tmp_path / "socket")], popen=spawn, accounts=[run, a, b])
    )
    watch = BrokerWatch(broker, lambda event: None)
    heard: list[str] = []
    ends = {}
    for account in (run, a):
        client = Client(CallbackAPIVersion.VERSION2, client_id=account.username, transport="unix")
        client.username_pw_set(account.username, account.password)
        client.connect(str(tmp_path / "socket"), 1)
        client.loop_start()
        stack.callback(client.loop_stop)
        ends[account.username] = client
    ends["RUN"].on_message = lambda client, userdata, message: heard.append(message.topic)
    ends["RUN"].subscribe("spaceverse/event/+", qos=1)
    time.sleep(0.3)
    for topic in ("spaceverse/event/b", "spaceverse/control", "spaceverse/event/a"):
        ends["a"].publish(topic, b"{}", qos=1).wait_for_publish(5)
    wait_for(lambda: bool(heard), "own event")
    assert heard == ["spaceverse/event/a"]
    watch.look(last=True)
    assert watch.refusals == {"publication": 2}


def test_a_satellite_refuses_a_station_that_another_authority_vouches_for(
    stack: ExitStack, tmp_path: Path
) -> None:
    place = Place(stack, tmp_path, tls=True)
    other = Authority(tmp_path / "other").certificate
    report = Recorder()
    station = Station(name="G", host="127.0.0.1", port=place.port, access=access(place.b), ca_file=other)
    downlink = Downlink(
        satellite="B",
        stations={station: CarrierWatch(None)},
        outbox=Outbox(tmp_path / "b", "b", 4096),
        rate_bit_s=RATE_BIT_S,
        report=report,
    )
    downlink.start()
    stack.callback(downlink.join, 5)
    stack.callback(downlink.stop)
    wait_for(lambda: bool(report.of("connection_refused")), "refusal")
    assert report.of("connected") == []


def test_passwords_are_the_owners_alone(stack: ExitStack, tmp_path: Path) -> None:
    place = Place(stack, tmp_path, tls=True)
    secret = [*(tmp_path / "broker").glob("*.passwords"), *(tmp_path / "broker").glob("*.acl")]
    secret += (tmp_path / "tls").glob("*.key")
    assert {path.name for path in secret} == {"broker.passwords", "broker.acl", "g.key"}
    assert {path.stat().st_mode & 0o777 for path in secret} == {0o600}
    others = [path for path in (tmp_path / "tls").iterdir() if path.suffix != ".key"]
    assert {path.name for path in others} == {"ca.pem", "g.pem"}
    assert all("PRIVATE KEY" not in path.read_text() for path in others), "the authority keeps its own"
    assert (tmp_path / "tls").stat().st_mode & 0o777 == 0o700
    assert place.a.password not in (tmp_path / "broker/broker.passwords").read_text()
    assert place.a.password not in repr(place.a)


def test_a_broker_that_dies_is_restarted_and_one_that_cannot_be_ends_the_run(tmp_path: Path) -> None:
    port = free_port()
    events = Recorder()
    with Broker(tmp_path, [TcpListener("127.0.0.1", port)], popen=spawn, ready_timeout_s=2) as broker:
        watch = BrokerWatch(broker, events)
        assert broker.pid is not None
        os.kill(broker.pid, 9)
        wait_for(lambda: not broker.running, "death")
        keep_alive(watch, lambda: watch.restarts == 1)
        assert [e["event"] for e in events.events] == ["broker_restarted"]
        os.kill(broker.pid, 9)
        wait_for(lambda: not broker.running, "death")
        with socket.socket() as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind(("127.0.0.1", port))
            taken.listen()
            with pytest.raises(BrokerError, match=r"could not be kept alive.*Address already in use"):
                keep_alive(watch, lambda: False)


def keep_alive(watch: BrokerWatch, condition: Callable[[], bool], for_s: float = 60.0) -> None:
    """Look, as a run does, until `condition`."""
    wait_for(condition, "end of the outage", for_s, every_s=0.05, meanwhile=watch.look)
