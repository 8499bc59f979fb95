"""Routes follow a schedule, and the links as they are, against hosts that only remember."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address
from typing import Any

import pytest

from testbed.errors import LinkError
from testbed.network.clock import ManualClock
from testbed.network.routes.contact_graph import RoutedLink
from testbed.network.routes.route_player import RoutePlayer
from testbed.network.routes.schedule import ANYBODY, RouteSchedule
from tests.support.network.contacts import contact_trace
from tests.support.waiting import wait_for

LINKS = [
    RoutedLink("S - G1", ("S", "G1"), contact_trace((10, 40))),
    RoutedLink("S - G2", ("S", "G2"), contact_trace((5, 60), delay_s=0.05)),
    RoutedLink("G1 - M", ("G1", "M"), contact_trace((0, 100), delay_s=0.001)),
    RoutedLink("G2 - M", ("G2", "M"), contact_trace((0, 100), delay_s=0.001)),
]


class RecordedHost:
    """Remembers its routes."""

    def __init__(self, number: int) -> None:
        self.address = IPv4Address(number)
        self.table: dict[str, str] = {}
        self.written_again = 0
        self.broken = False

    def follow(self, table: Mapping[str, str], addresses: Mapping[str, Any], *, again: bool = False) -> int:
        assert set(table) - {ANYBODY} <= set(addresses)
        if self.broken:
            raise LinkError("no such namespace")
        self.table = dict(table)
        self.written_again += again
        return 1


class Played:
    def __init__(self) -> None:
        self.clock = ManualClock(-1.0)
        self.hosts = {name: RecordedHost(number) for number, name in enumerate(("S", "G1", "G2", "M"), 1)}
        self.told: list[tuple[float, str | None]] = []
        self.player = RoutePlayer(
            self.clock,
            RouteSchedule.compute(LINKS, "M"),
            self.hosts,  # type: ignore[arg-type]
            lambda step: self.told.append((step.time_s, step.parents.get("S"))),
            closed=[link.name for link in LINKS],
        )

    def way(self) -> str | None:
        return self.hosts["S"].table.get(ANYBODY)

    def open(self, *links: str) -> None:
        for link in links:
            self.player.link_changed(link, is_open=True)


@pytest.fixture
def played() -> Iterator[Played]:
    made = Played()
    with made.player:
        made.clock.advance_to(0.0)
        made.open("G1 - M", "G2 - M")
        yield made


def test_a_link_is_used_once_it_is_up_and_left_before_it_ends(played: Played) -> None:
    played.clock.advance_to(5.0)
    wait_for(lambda: played.player.next_s() == 10.0, "the step")
    assert played.way() is None  # the schedule has it open, but it is not up yet
    played.clock.advance_to(5.1)
    played.open("S - G2")
    wait_for(lambda: played.way() == "G2", "the routes")
    played.clock.advance_to(10.1)
    wait_for(lambda: played.player.next_s() == 39.5, "the step")
    played.open("S - G1")
    wait_for(lambda: played.way() == "G1", "the routes")
    played.clock.advance_to(39.5)
    wait_for(lambda: played.way() == "G2", "the routes")
    assert played.told[-3:] == [(5.1, "G2"), (10.1, "G1"), (39.5, "G2")]
    assert played.hosts["M"].table["S"] == "G2"


def test_a_link_that_closes_unforeseen_is_left_at_once_and_taken_again(played: Played) -> None:
    played.clock.advance_to(20.0)
    wait_for(lambda: played.player.next_s() == 39.5, "the step")
    played.open("S - G2", "S - G1")
    wait_for(lambda: played.way() == "G1", "the routes")
    played.player.link_changed("S - G1", is_open=False)
    wait_for(lambda: played.way() == "G2", "the routes")
    played.clock.advance_to(25.0)
    played.player.link_changed("G2 - M", is_open=False)
    wait_for(lambda: played.way() is None, "the routes")
    played.open("S - G1")
    wait_for(lambda: played.way() == "G1", "the routes")
    assert [way for _, way in played.told][-3:] == ["G2", None, "G1"]


def test_the_routes_as_they_were_set_have_the_times_at_which_they_were(played: Played) -> None:
    played.clock.advance_to(7.0)
    wait_for(lambda: played.player.next_s() == 10.0, "the step")
    played.open("S - G2")
    wait_for(lambda: played.way() == "G2", "the routes")
    times = [(step.time_s, step.parents.get("S")) for step in played.player.steps]
    assert times[0] == (0.0, None)
    assert times[-1] == (7.0, "G2")


def test_routes_are_written_again_for_one_host(played: Played) -> None:
    played.player.restore("G1")
    played.player.restore("nobody")
    assert {name: host.written_again for name, host in played.hosts.items()} == {
        "S": 0, "G1": 1, "G2": 0, "M": 0,
    }  # fmt: skip


def test_a_route_that_cannot_be_set_ends_it_with_its_error(played: Played) -> None:
    played.hosts["S"].broken = True
    played.clock.advance_to(20.0)
    played.open("S - G1")
    wait_for(lambda: played.player.error is not None, "the routes")
    with pytest.raises(LinkError, match="no such namespace"):
        played.player.check()
