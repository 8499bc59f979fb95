"""A broker that dies is restarted, at growing intervals, and given up if it dies again and again."""

from __future__ import annotations

import subprocess
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from nodes.contract.events import BrokerRefused, BrokerRestarted, Event
from testbed.mqtt.broker import Broker, BrokerError, UnixListener
from testbed.mqtt.broker_watch import RESTARTS_IN_A_ROW, STABLE_S, BrokerWatch


class Mortal:
    """A broker that lives until it is told to die."""

    name = "g-broker"

    def __init__(self, folder: Path) -> None:
        self.log_path = folder / "log"
        self.log_path.touch()
        self.running = self.reachable = True
        self.refuses = False

    def start(self) -> None:
        if self.refuses:
            raise BrokerError("no")
        self.running = self.reachable = True

    def stop(self) -> None:
        self.running = False

    def ending(self) -> str:
        return "killed by SIGXFSZ; "

    def log_tail(self) -> str:
        return "last words"


class Times:
    """A clock that the test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now_s)


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> Times:
    return Times(monkeypatch)


class Watched:
    def __init__(self, folder: Path) -> None:
        self.events: list[Event] = []
        self.broker = Mortal(folder)
        self.watch = BrokerWatch(self.broker, self.report)  # type: ignore[arg-type]

    def report(self, event: Event, *, monotonic_s: float | None = None) -> None:
        self.events.append(event)

    def die(self, times: Times, lived_s: float) -> float:
        """Die after a life; return the seconds until the restart."""
        times.now_s += lived_s
        self.broker.running = False
        died_s = times.now_s
        while not self.broker.running:
            self.watch.look()
            times.now_s += 0.01
            assert times.now_s < died_s + 100
        return times.now_s - died_s


def test_a_broker_that_lives_long_in_between_is_restarted_for_ever(tmp_path: Path, times: Times) -> None:
    watched = Watched(tmp_path)
    for number in range(3 * RESTARTS_IN_A_ROW):
        assert watched.die(times, STABLE_S + 1) < 0.1
        assert watched.watch.restarts == number + 1
    told = [event.restarts for event in watched.events if isinstance(event, BrokerRestarted)]
    assert told == list(range(1, 3 * RESTARTS_IN_A_ROW + 1))


def test_a_broker_that_dies_at_once_is_restarted_later_and_later_and_given_up(
    tmp_path: Path, times: Times
) -> None:
    watched = Watched(tmp_path)
    waited_s = [
        watched.die(times, STABLE_S + 1 if number == 0 else 0.5) for number in range(RESTARTS_IN_A_ROW)
    ]
    assert all(later > sooner for sooner, later in pairwise(waited_s))
    assert waited_s[-1] == pytest.approx(0.1 * (2 ** (RESTARTS_IN_A_ROW - 1) - 1), abs=0.1)
    with pytest.raises(BrokerError, match=f"{RESTARTS_IN_A_ROW} restarts: killed by SIGXFSZ; last words"):
        watched.die(times, 0.5)


def test_a_broker_that_does_not_start_any_more_is_given_up(tmp_path: Path, times: Times) -> None:
    watched = Watched(tmp_path)
    watched.broker.refuses = True
    with pytest.raises(BrokerError, match="could not be kept alive"):
        watched.die(times, 0.5)
    assert watched.watch.restarts == 0


def test_the_last_look_restarts_nothing_and_tells_everything(tmp_path: Path, times: Times) -> None:
    watched = Watched(tmp_path)
    watched.broker.running = False
    line = (
        "2026-01-01T00:00:00: Denied PUBLISH from b (d0, q1, r0, m1, 'spaceverse/event/a', ... (7 bytes))\n"
    )
    watched.broker.log_path.write_text(line * 3 + line[:20])
    watched.watch.look(last=True)
    assert not watched.broker.running
    (refused,) = [event for event in watched.events if isinstance(event, BrokerRefused)]
    assert (refused.kind, refused.count, refused.sender) == ("publication", 3, "b")
    assert refused.what == "spaceverse/event/a"
    assert watched.watch.to_record().warning() == "broker g-broker: refused publication 3 times"


class Stubborn:
    """A process that ends by SIGKILL only."""

    pid = 1

    def __init__(self) -> None:
        self.told: list[str] = []

    def poll(self) -> int | None:
        return -9 if "kill" in self.told else None

    def terminate(self) -> None:
        self.told.append("terminate")

    def kill(self) -> None:
        self.told.append("kill")

    def wait(self, timeout: float | None = None) -> int:
        if "kill" not in self.told:
            raise subprocess.TimeoutExpired("mosquitto", timeout or 0.0)
        return -9


def test_a_broker_that_does_not_end_is_killed(tmp_path: Path) -> None:
    broker: Any = Broker(tmp_path, [UnixListener(tmp_path / "socket")])
    broker._process = process = Stubborn()
    (tmp_path / "socket").touch()
    broker.stop()
    broker.stop()
    assert process.told == ["terminate", "kill"]
    assert not (tmp_path / "socket").exists() and broker.pid is None
