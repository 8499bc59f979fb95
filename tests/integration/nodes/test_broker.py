"""The broker class with a real mosquitto."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import stat
import subprocess
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from nodes.contract import topics
from testbed.mqtt import broker_watch
from testbed.mqtt.accounts import Account, node_account, page_account, run_account
from testbed.mqtt.broker import MAX_PACKET_BYTES, Broker, BrokerError, TcpListener, UnixListener
from testbed.mqtt.broker_watch import BrokerWatch
from testbed.mqtt.certificates import Authority
from tests.support.live_page import page_client
from tests.support.nodes.ends import Recorder
from tests.support.waiting import wait_for


def test_both_listeners_accept_and_nothing_is_left(tmp_path: Path, port: int) -> None:
    path = tmp_path / "broker.sock"
    with Broker(tmp_path / "b", [UnixListener(path), TcpListener("127.0.0.1", port)]) as broker:
        pid = broker.pid
        assert pid is not None and broker.running
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            pass
        assert path.is_socket()
    assert not path.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_socket_that_was_removed_with_its_folder_is_made_again(tmp_path: Path) -> None:
    path, told = tmp_path / "sockets/broker.sock", Recorder()
    path.parent.mkdir()
    with Broker(tmp_path / "b", [UnixListener(path)]) as broker:
        watch = BrokerWatch(broker, told)
        watch.look()
        assert watch.restarts == 0
        shutil.rmtree(path.parent)
        wait_for(lambda: watch.restarts == 1, "restart", meanwhile=watch.look)
        assert path.is_socket() and broker.running
        assert told.of("broker_restarted")[0]["restarts"] == 1


def test_tcp_alone_is_waited_for(tmp_path: Path, port: int) -> None:
    with Broker(tmp_path, [TcpListener("127.0.0.1", port)]), socket.create_connection(("127.0.0.1", port), 1):
        pass


def test_address_in_use_is_told_from_the_log(tmp_path: Path, port: int) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        broker = Broker(tmp_path, [TcpListener("127.0.0.1", port)])
        with pytest.raises(BrokerError, match="Address already in use"):
            broker.start()
    assert not broker.running


def test_long_socket_path_is_refused_with_advice(tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match="shorter folder"):
        Broker(tmp_path, [UnixListener(tmp_path / ("x" * 120))])


def test_popen_is_used(tmp_path: Path, port: int) -> None:
    commands: list[list[str]] = []

    def popen(command: list[str], **options: object) -> object:
        commands.append(command)
        return subprocess.Popen(command, **options)  # type: ignore[call-overload]

    with Broker(tmp_path, [TcpListener("127.0.0.1", port)], popen=popen):
        assert len(commands) == 1


def test_only_tls_1_3_is_spoken(tmp_path: Path, port: int) -> None:
    authority = Authority(tmp_path / "tls")
    context = ssl.create_default_context(cafile=authority.certificate)
    with Broker(tmp_path, [TcpListener("127.0.0.1", port, authority.issue("g", ["127.0.0.1"]))]):

        def spoken() -> str | None:
            with (
                socket.create_connection(("127.0.0.1", port), 1) as plain,
                context.wrap_socket(plain, server_hostname="127.0.0.1") as secured,
            ):
                return secured.version()

        assert spoken() == "TLSv1.3"
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises((ssl.SSLError, ConnectionError)):
            spoken()


class Session:
    """A client that notes why its session ended."""

    def __init__(self, socket_path: Path, account: Account | None, client_id: str) -> None:
        self.ended: list[str] = []
        self.reason: list[str] = []
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id, transport="unix")
        if account is not None:
            self.client.username_pw_set(account.username, account.password)
        self.client.on_connect = lambda client, _, __, reason, ___: self.reason.append(str(reason))
        self.client.on_disconnect = lambda client, _, __, reason, ___: self.ended.append(str(reason))
        self.client.reconnect_delay_set(60, 60)
        self.client.connect(str(socket_path))
        self.client.loop_start()
        wait_for(lambda: bool(self.reason), "reply of the broker")

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


def test_accounts_are_needed_and_nobody_takes_a_session_by_its_client_id(tmp_path: Path) -> None:
    path, accounts = tmp_path / "socket", (node_account("a"), node_account("b"))
    with Broker(tmp_path, [UnixListener(path)], accounts=accounts):
        for name in ("broker.passwords", "broker.acl"):
            assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
        a = Session(path, accounts[0], "a")
        nobody = Session(path, None, "a")
        b = Session(path, accounts[1], "a")
        try:
            assert (a.reason, b.reason) == (["Success"], ["Success"])
            assert "authorized" in nobody.reason[0]
            b.client.publish("spaceverse/event/b", bytes(MAX_PACKET_BYTES + 1000), qos=0)
            wait_for(lambda: bool(b.ended), "end of a session with a packet that is too large")
            assert a.ended == []
        finally:
            for session in (a, nobody, b):
                session.close()


def test_a_page_hears_events_over_websockets_and_can_neither_publish_nor_take_a_session(
    tmp_path: Path, port: int
) -> None:
    path, node, run, page = tmp_path / "socket", node_account("a"), run_account(), page_account()
    listeners = [UnixListener(path), TcpListener("127.0.0.1", port, websockets=True)]
    heard: list[str] = []
    with Broker(tmp_path, listeners, accounts=[node, run, page]):
        a, of_run = Session(path, node, "a"), Session(path, run, "RUN")
        of_run.client.on_message = lambda _, __, message: heard.append(message.topic)
        of_run.client.subscribe("spaceverse/#")
        first, second = (
            page_client("127.0.0.1", port=port, username=name, password=page.password, client_id="RUN")
            for name in page.usernames[:2]
        )
        shown: list[str] = []
        first.on_message = lambda _, __, message: shown.append(message.payload.decode())
        first.subscribe([("spaceverse/event/+", 0), ("spaceverse/control", 0)])
        for topic in (topics.event("a"), topics.STATE, topics.CONTROL, topics.event("run")):
            first.publish(topic, "from a page", qos=1).wait_for_publish(5)
        a.client.publish(topics.event("a"), "from a node", qos=1)
        wait_for(lambda: bool(shown), "event at the page")
        wait_for(lambda: bool(heard), "event at the run")
        assert (shown, heard) == (["from a node"], [topics.event("a")])
        assert first.is_connected() and second.is_connected(), "two pages are open at once"
        assert of_run.ended == [], "a page took the run's session by its client id"
        for client in (first, second):
            client.disconnect()
            client.loop_stop()
        a.close()
        of_run.close()


def test_log_of_a_flood_does_not_grow_for_ever_and_refusals_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker_watch, "LOG_MAX_BYTES", 20_000)
    account, path = node_account("a"), tmp_path / "socket"
    with Broker(tmp_path, [UnixListener(path)], accounts=[account]) as broker:
        watch = BrokerWatch(broker, lambda event, **_: None)
        client = mqtt.Client(CallbackAPIVersion.VERSION2, transport="unix")
        client.username_pw_set(account.username, account.password)
        client.connect(str(path))
        client.loop_start()
        largest_bytes = 0
        for _ in range(20):
            for _ in range(30):
                info = client.publish("spaceverse/event/b", b"x", qos=1)
            info.wait_for_publish(5)
            watch.look()
            largest_bytes = max(largest_bytes, broker.log_path.stat().st_size)
        client.disconnect()
        client.loop_stop()
        assert largest_bytes < 40_000, "it was not cut, or the broker wrote on behind what was cut"
        assert 500 < watch.refusals["publication"] <= 600
