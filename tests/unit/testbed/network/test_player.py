"""The player against a clock that moves only when told and a shaper that only remembers."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timezone

import numpy as np
import pytest

from nodes.clocks.timescale import Piece
from testbed.errors import LinkError, ShaperDiedError
from testbed.network.clock import ManualClock, RealClock
from testbed.network.link_state import DOWN_STATE, Direction, LinkState
from testbed.network.player import Change, Player, unplayable
from testbed.network.shapers.base import LinkPorts, RecordingShaper
from tests.support.one_way import one_way_trace
from tests.support.starved import Starvation, unless_starved
from tests.support.waiting import wait_for
from traces.trace import Trace, TraceHeader

HEADER = TraceHeader("DOVE", "Svalbard", datetime(2018, 1, 20, tzinfo=timezone.utc), "a test")


class RecordedSky:
    """Remembers which links were set together."""

    def __init__(self) -> None:
        self.turns: list[dict[str, tuple[LinkState, LinkState]]] = []

    def set_links(self, requested: Mapping[str, tuple[LinkState, LinkState]]) -> None:
        self.turns.append(dict(requested))


class RecordedLink:
    """A link without a network, and at first without a sky."""

    sky: RecordedSky | None = None

    def __init__(self, name: str, shaper: RecordingShaper) -> None:
        self.name = name
        self.shaper = shaper
        self.broken: Exception | None = None
        shaper.attach(LinkPorts(name, f"{name}-sat", f"{name}-gnd"))

    def set(self, down: LinkState, up: LinkState) -> None:
        if self.broken is not None and down.up:
            raise self.broken
        self.shaper.apply(self.name, Direction.DOWN, down)
        self.shaper.apply(self.name, Direction.UP, up)

    def check(self) -> None:
        if isinstance(self.broken, ShaperDiedError):
            raise self.broken

    def held(self) -> tuple[LinkState, LinkState]:
        return self.shaper.states[self.name, Direction.DOWN], self.shaper.states[self.name, Direction.UP]


def trace(*rows: tuple[float, int, float, float, float, float], end_s: float = 100.0) -> Trace:
    """Rows of time, up, rates down and up, delay and loss down; going up, delay and loss are twice that."""
    time_s, up, down_bit_s, up_bit_s, delay_s, loss = np.array(rows).T
    return Trace(
        HEADER,
        time_s,
        up != 0,
        up != 0,
        down_bit_s,
        up_bit_s,
        delay_s,
        2 * delay_s,
        loss,
        2 * loss,
        end_s=end_s,
    )


PASS = trace(
    (0, 0, 0, 0, 0, 0),
    (10, 1, 4e6, 250e3, 0.006, 0),
    (20, 1, 8e6, 250e3, 0.005, 0.01),
    (30, 1, 8e6, 250e3, 0.005, 0.01),
    (40, 0, 0, 0, 0, 0),
)


@pytest.fixture
def link() -> RecordedLink:
    return RecordedLink("dove", RecordingShaper())


def until(condition: Callable[[], bool]) -> None:
    wait_for(condition, "step of the player", 2, every_s=0.001)


def test_the_link_follows_its_trace_step_by_step(link: RecordedLink) -> None:
    clock, changes = ManualClock(-1.0), list[Change]()
    with Player(clock, {link: PASS}, changes.append) as player:
        assert link.held() == (DOWN_STATE, DOWN_STATE)
        clock.advance_to(10.0)
        until(lambda: link.held()[0].up)
        down, up = link.held()
        assert (down.rate_bit_s, down.delay_s, up.rate_bit_s, up.delay_s) == (4e6, 0.006, 250e3, 0.012)
        clock.advance_to(20.0)
        until(lambda: link.held()[0].loss == 0.01)
        assert link.held()[0].rate_bit_s == 8e6
        until(lambda: link.held()[1].loss == 0.02)
        clock.advance_to(40.0)
        until(lambda: not link.held()[0].up)
        assert player.error is None
    # The row at 30 s changes nothing and is not applied; times are the trace's.
    assert [(change.time_s, change.up) for change in changes] == [
        (-1.0, False),
        (10.0, True),
        (20.0, True),
        (40.0, False),
    ]


def test_a_direction_goes_down_alone_and_the_contact_goes_on(link: RecordedLink) -> None:
    clock, changes = ManualClock(-1.0), list[Change]()
    apart = one_way_trace(rate_bit_s=4e6, delay_s=0.01, step_s=10.0)
    with Player(clock, {link: apart}, changes.append) as player:
        clock.advance_to(10.0)
        until(lambda: not link.held()[1].up and link.held()[0].up)
        assert link.held() == (LinkState(True, 4e6, 0.01, 0.0, 100_000), DOWN_STATE)
        clock.advance_to(20.0)
        until(lambda: not link.held()[0].up)
        assert link.held() == (DOWN_STATE, LinkState(True, 1e6, 0.02, 0.0, 64_000))
        clock.advance_to(30.0)
        until(lambda: not link.held()[1].up)
        assert player.error is None
    assert [(change.time_s, change.up) for change in changes] == [
        (-1.0, False),
        (0.0, True),
        (10.0, True),
        (20.0, True),
        (30.0, False),
    ]


def test_only_a_direction_that_is_up_must_be_playable() -> None:
    apart = one_way_trace()
    assert unplayable(apart) is None  # a rate of 0 is no matter while down
    slow = replace(apart, up_bit_s=np.array([4.0, 0, 1e6, 0]))
    assert unplayable(slow) == "at 0 s its up_bit_s is 4; while up, a link can do 8 or more"
    assert unplayable(replace(slow, uplink_up=np.array([False, False, True, False]))) is None


def test_the_first_state_is_there_when_start_returns(link: RecordedLink) -> None:
    player = Player(ManualClock(25.0), {link: PASS})
    player.start()
    assert link.held()[0].rate_bit_s == 8e6
    player.stop()
    assert link.held() == (DOWN_STATE, DOWN_STATE)
    player.stop()


def test_a_trace_that_ends_in_a_contact_ends_the_contact(link: RecordedLink) -> None:
    clock = ManualClock()
    with Player(clock, {link: trace((0, 1, 1e6, 1e6, 0.01, 0), end_s=5.0)}) as player:
        assert link.held()[0].up
        clock.advance_to(5.0)
        assert player.join(2)
        assert link.held() == (DOWN_STATE, DOWN_STATE)


def test_links_are_played_in_order_of_time_whichever_trace_it_is_in() -> None:
    shaper = RecordingShaper()
    one, two = RecordedLink("one", shaper), RecordedLink("two", shaper)
    clock = ManualClock()
    traces = {
        one: trace((0, 0, 0, 0, 0, 0), (2, 1, 1e6, 1e6, 0.01, 0), (6, 0, 0, 0, 0, 0)),
        two: trace((0, 0, 0, 0, 0, 0), (1, 1, 2e6, 1e6, 0.01, 0), (4, 0, 0, 0, 0, 0)),
    }
    with Player(clock, traces) as player:
        clock.advance_to(1000.0)
        assert player.join(2)
    played = [(name, state.up) for name, way, state in shaper.history if way is Direction.DOWN]
    assert played[2:6] == [("two", True), ("one", True), ("two", False), ("one", False)]


def test_changes_that_are_near_go_together_and_edges_by_themselves() -> None:
    shaper, sky = RecordingShaper(), RecordedSky()
    links = [RecordedLink(name, shaper) for name in ("one", "two", "three")]
    for link in links:
        link.sky = sky
    up, late_s = (1, 1e6, 1e6, 0.01, 0), [0.0, 0.003, 0.007]
    traces = {
        link: trace((0, *up), (1 + late, 1, 2e6, 1e6, 0.01, 0), (2 + late, 0, 0, 0, 0, 0))
        for link, late in zip(links, late_s, strict=True)
    }
    clock = ManualClock()
    with Player(clock, traces) as player:
        clock.advance_to(1.001)  # "one" is due, and waits for "two"
        clock.advance_to(1.003)
        until(lambda: len(player.lateness_s) == 5)
        assert [list(turn) for turn in sky.turns] == [["one", "two"]]
        clock.advance_to(1.5)
        until(lambda: len(player.lateness_s) == 6)
        assert links[2].held()[0].rate_bit_s == 2e6
        clock.advance_to(2.0)
        until(lambda: not links[0].held()[0].up)  # an edge waits for nobody
        clock.advance_to(3.0)
        until(lambda: len(player.lateness_s) == 9)
    assert len(sky.turns) == 1


def test_the_queue_follows_the_rate(link: RecordedLink) -> None:
    with Player(ManualClock(10.0), {link: PASS}, queue_s=0.2, queue_at_least_bytes=50_000):
        assert [state.queue_bytes for state in link.held()] == [100_000, 50_000]


def test_an_error_is_kept_and_the_link_taken_down(link: RecordedLink) -> None:
    clock = ManualClock()
    player = Player(clock, {link: PASS})
    player.start()
    clock.advance_to(15.0)
    until(lambda: link.held()[0].up)
    link.broken = LinkError("the kernel said no")
    clock.advance_to(20.0)
    until(lambda: player.error is not None)
    assert link.held() == (DOWN_STATE, DOWN_STATE)
    with pytest.raises(LinkError, match="the kernel said no"):
        player.join(1)
    player.stop()


def test_a_shaper_that_dies_between_two_rows_is_noticed(link: RecordedLink) -> None:
    clock = RealClock(time.monotonic() - 11.0)
    player = Player(clock, {link: PASS})
    player.start()
    link.broken = ShaperDiedError("gone")
    until(lambda: isinstance(player.error, ShaperDiedError))
    player.stop()


def test_what_fails_at_the_start_is_raised_by_start(link: RecordedLink) -> None:
    link.broken = LinkError("no such port")
    with pytest.raises(LinkError, match="no such port"):
        Player(ManualClock(15.0), {link: PASS}).start()
    assert link.held() == (DOWN_STATE, DOWN_STATE)


def test_changes_come_on_time(link: RecordedLink) -> None:
    def median_late_s() -> float:
        rows = [(i / 50, 1, 1e6 + i, 1e6, 0.01, 0.0) for i in range(20)]
        with Player(RealClock(), {link: trace(*rows, end_s=0.4)}) as player:
            assert player.join(5)
        assert len(player.lateness_s) == 21
        assert min(player.lateness_s) >= 0
        return float(np.median(player.lateness_s))

    unless_starved(median_late_s, lambda late_s: late_s < 0.005)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ((5, 1, 7.9, 1e5, 0.01, 0), "at 5 s its down_bit_s is 7.9; while up, a link can do 8 or more"),
        ((5, 1, 8, 5, 0.01, 0), "at 5 s its up_bit_s is 5; while up, a link can do 8 or more"),
        ((5, 1, 8, 8, 43_200.5, 0), "at 5 s its up_delay_s is 86401; while up, a link can do 86400 or less"),
        ((5, 1, 8, 8, 43_200, 0.5), None),
        ((5, 0, 0, 0, 1e6, 0), None),
    ],
)
def test_what_links_refuse_is_found_before_they_are_made(row: tuple[float, ...], said: str | None) -> None:
    requested = trace((0, 1, 1e6, 1e5, 0.01, 0), row, end_s=10)  # type: ignore[arg-type]
    assert unplayable(requested) == said
    shaper = RecordingShaper()
    player = Player(ManualClock(5.0), {RecordedLink("DOVE - Svalbard", shaper): requested})
    if said is None:
        player.start()
    else:
        with pytest.raises(ValueError, match=r"rate_bit_s|delay_s"):
            player.start()
    player.stop()


def test_where_time_runs_faster_links_do_and_changes_are_told_as_the_trace_has_them(
    link: RecordedLink,
) -> None:
    changes: list[Change] = []
    with Player(ManualClock(15.0, speed=20), {link: PASS}, changes.append):
        down, up = link.held()
    told = changes[0]
    assert (down.rate_bit_s, down.delay_s) == (told.down.rate_bit_s * 20, told.down.delay_s / 20)
    assert (up.rate_bit_s, up.delay_s) == (told.up_link.rate_bit_s * 20, told.up_link.delay_s / 20)
    assert down.queue_limit_bytes == told.down.queue_limit_bytes
    assert told.down.rate_bit_s == PASS.row_at(15.0).down_bit_s


def test_a_clock_that_runs_ahead_is_waited_for_in_its_own_time() -> None:
    def late_s() -> float:
        begun_s = time.monotonic()
        clock = RealClock(begun_s, speed=20)
        assert clock.wait_until(4.0, threading.Event())
        assert clock.now_s() >= 4.0
        return time.monotonic() - begun_s - 0.2

    unless_starved(late_s, lambda late_s: 0 <= late_s < 0.01)


def test_after_a_jump_a_link_has_its_latest_state_at_once_and_is_not_late(link: RecordedLink) -> None:
    rows = [(float(k), 1, (1 + k) * 1e6, 250e3, 0.006, 0) for k in range(60)]
    changes, clock = list[Change](), RealClock(time.monotonic() - 0.5)
    with Starvation() as starvation, Player(clock, {link: trace(*rows)}, changes.append) as player:
        assert player.next_edge_s() == 100.0
        clock.change(Piece(time.monotonic(), 50.5, 1.0))
        until(lambda: link.held()[0].rate_bit_s == 51e6)
        assert player.next_edge_s() == 100.0
        clock.change(Piece(time.monotonic(), 99.99, 1.0))
        until(lambda: not link.held()[0].up)
        assert player.next_edge_s() == float("inf")
    assert len(changes) < 10  # of 60
    assert max(change.lateness_s for change in changes) < 0.1 or starvation.starved


def test_the_next_edge_is_the_one_that_no_link_has_yet() -> None:
    first, second = (RecordedLink(name, RecordingShaper()) for name in ("a", "b"))
    clock = ManualClock(-1.0)
    later = trace((0, 0, 0, 0, 0, 0), (25, 1, 4e6, 250e3, 0.006, 0), (35, 0, 0, 0, 0, 0))
    with Player(clock, {first: PASS, second: later}) as player:
        for time_s, next_s in ((-1.0, 10.0), (10.0, 25.0), (25.0, 35.0), (35.0, 40.0), (40.0, float("inf"))):
            clock.advance_to(time_s)
            until(lambda next_s=next_s: player.next_edge_s() == next_s)


def test_at_another_speed_every_link_that_is_up_is_set_anew() -> None:
    up, down = (RecordedLink(name, RecordingShaper()) for name in ("up", "down"))
    clock, changes = ManualClock(15.0, speed=10), list[Change]()
    later = trace((0, 0, 0, 0, 0, 0), (50, 1, 4e6, 250e3, 0.006, 0))
    with Player(clock, {up: PASS, down: later}, changes.append) as player:
        assert up.held()[0].rate_bit_s == 40e6
        clock.speed = 2
        player.follow_speed()
        assert (up.held()[0].rate_bit_s, up.held()[0].delay_s) == (8e6, pytest.approx(0.003))
        assert down.held() == (DOWN_STATE, DOWN_STATE)
    assert len(changes) == 2  # the trace's
