"""Links that several processes share, and streams that are handled by slots."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from testbed.errors import ShaperDiedError
from testbed.network.emulation import EmulatedNetwork
from testbed.network.link_state import DOWN_STATE, Direction
from testbed.network.shapers.nfqueue.shaper import NfqueueShaper
from tests.support.network.pair import Pair, Stream, state
from tests.support.waiting import wait_for

pytestmark = pytest.mark.root


@pytest.fixture
def pairs() -> Iterator[list[Pair]]:
    with EmulatedNetwork(lambda path: NfqueueShaper(path, processes=2)) as network:
        yield [Pair(network, number) for number in range(3)]


def test_links_are_spread_over_processes_and_keep_their_own_states(pairs: list[Pair]) -> None:
    shaper = pairs[0].shaper
    assert len(set(shaper.pids)) == 2
    states = [state(delay_s=0.001 * (number + 1)) for number in range(3)]
    orders = [
        (pair.link.name, way, its) for pair, its in zip(pairs, states, strict=True) for way in Direction
    ]
    assert shaper.apply_all(orders) == [its for _, _, its in orders], "in the order of the request"
    for pair, its in zip(pairs, states, strict=True):
        pair.link.set(its, its)
        assert pair.link.states() == (its, its)
        assert len(pair.rtts_ms(2, "-i", "0.02")) == 2
    pairs[1].link.delete()
    pairs[2].link.set(DOWN_STATE, DOWN_STATE)
    assert len(pairs[0].rtts_ms(2, "-i", "0.02")) == 2


def test_a_killed_process_ends_all_links(pairs: list[Pair]) -> None:
    shaper = pairs[0].shaper
    os.kill(shaper.pids[1], signal.SIGKILL)

    def died() -> bool:
        try:
            shaper.check()
        except ShaperDiedError:
            return True
        return False

    wait_for(died, "the shaper to notice", 5)
    wait_for(lambda: not any(pair.link.sky_link.carrier() for pair in pairs), "all links to go down", 5)


def test_a_dense_stream_arrives_whole_and_in_order(pairs: list[Pair]) -> None:
    delay_s, count = 0.02, 20_000
    pairs[0].link.set(state(10e9, delay_s, queue_bytes=10**9), state())
    stream = Stream(pairs[0])
    stream.send(count)
    got = stream.received(1.0)
    stream.close()
    assert got == list(range(count))
    counters = pairs[0].shaper.counters(pairs[0].link.name, Direction.DOWN)
    assert counters["delivered"] >= count and counters["kernel_dropped"] == 0
