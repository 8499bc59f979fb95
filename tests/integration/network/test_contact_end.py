"""Packets inside a link when a contact ends: they are held and delivered in the next contact."""

import time
from collections.abc import Iterator

import pytest

from testbed.errors import InputError
from testbed.network.emulation import EmulatedNetwork
from testbed.network.link_state import DOWN_STATE, Direction
from tests.support.network.pair import GROUND6, Pair, Stream, state
from tests.support.starved import unless_starved

pytestmark = [pytest.mark.root, pytest.mark.light]


@pytest.fixture(scope="module")
def held() -> Iterator[Pair]:
    with EmulatedNetwork("nfqueue") as network:
        yield Pair(network, on_contact_end="hold")


@pytest.fixture
def stream(held: Pair) -> Iterator[Stream]:
    stream = Stream(held)
    yield stream
    stream.close()


def test_held_packets_wait_and_go_on_with_the_time_they_had_left(held: Pair) -> None:
    """16 packets of 25 ms each and 100 ms of delay are through after 500 ms; the contact ends after 240."""
    unless_starved(lambda: came_and_late_s(held), lambda found: 3 <= found[0] <= 7 and abs(found[1]) <= 0.04)


def came_and_late_s(held: Pair) -> tuple[int, float]:
    """How many packets came in the first contact, and how late the last one of the second was."""
    stream = Stream(held, size_bytes=1000)  # small beside it: what the hosts' IPv6 says when a contact begins
    slow = state(1042 * 8 / 0.025, 0.1)
    held.link.set(slow, slow)
    began_s = time.monotonic()
    stream.send(16)
    time.sleep(0.24)
    held.link.set(DOWN_STATE, DOWN_STATE)
    passed_s = time.monotonic() - began_s
    assert not held.link.sky_link.carrier()
    came = stream.received()
    assert came == list(range(len(came)))
    assert stream.received(0.5) == []
    assert held.shaper.counters("s0-g0", Direction.DOWN)["inside"] >= 16 - len(came)
    held.link.set(slow, slow)
    again_s = time.monotonic()
    assert stream.received(0.2) == list(range(len(came), 16))
    left_s = time.monotonic() - again_s - 0.2
    stream.close()
    return len(came), left_s - (0.5 - passed_s)


def test_a_contact_that_is_held_over_several_ends_loses_and_reorders_nothing(
    held: Pair, stream: Stream
) -> None:
    quick = state(1e6, 0.02)
    held.link.set(quick, quick)
    before = held.shaper.counters("s0-g0", Direction.DOWN)
    got = []
    for _ in range(5):
        stream.send(50)  # 57 ms
        time.sleep(0.03)
        held.link.set(DOWN_STATE, DOWN_STATE)
        got += stream.received(0.05)
        held.link.set(quick, quick)
    got += stream.received(0.3)
    assert got == list(range(250))
    after = held.shaper.counters("s0-g0", Direction.DOWN)
    assert [after[name] - before[name] for name in ("purged", "dropped_down", "dropped_queue")] == [0, 0, 0]


def test_the_gates_add_little_and_pass_ipv6_too(held: Pair) -> None:
    held.link.set(state(delay_s=0.01), state(delay_s=0.01))

    def median_ms() -> float:
        rtts_ms = sorted(held.rtts_ms(30, "-i", "0.01", to=GROUND6))
        assert len(rtts_ms) == 30
        assert rtts_ms[0] >= 20
        return rtts_ms[15]

    unless_starved(median_ms, lambda found_ms: found_ms < 21)


def test_an_end_that_is_none_is_refused(held: Pair) -> None:
    with pytest.raises(InputError, match="choose purge or hold"):
        Pair(held.network, 7, on_contact_end="keep")
