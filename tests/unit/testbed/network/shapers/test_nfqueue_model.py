"""The link as arithmetic: a packet's time through it, to the microsecond, and what a change does to it."""

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.network.link_state import DOWN_STATE, HELD_STATE, GilbertElliott, LinkState
from testbed.network.shapers.nfqueue.model import LinkModel, Verdict

FRAME_BYTES = 1250  # 10 ms at 1 Mbit/s


def model_with(**fields: float) -> LinkModel:
    state = LinkState(**{"up": True, "rate_bit_s": 1e6, "delay_s": 0.0, "queue_bytes": 10**9, **fields})  # type: ignore[arg-type]
    model = LinkModel(seed=1)
    model.set(state, 0.0)
    return model


def dues_s(model: LinkModel) -> list[float]:
    """When each packet inside leaves, by taking them out one by one."""
    dues = []
    while model.next_due_s is not None:
        dues.append(model.next_due_s)
        model.release(model.next_due_s)
    return dues


def test_a_packet_takes_its_bits_over_the_rate_and_then_the_delay() -> None:
    model = model_with(delay_s=0.25)
    model.arrive(1, FRAME_BYTES, 5.0)
    assert model.next_due_s == pytest.approx(5.0 + 0.010 + 0.25)


def test_packets_wait_for_each_other_and_an_idle_link_saves_nothing_up() -> None:
    model = model_with()
    for number, arrival_s in enumerate([100.0, 100.0, 100.001, 100.5]):
        model.arrive(number, FRAME_BYTES, arrival_s)
    assert dues_s(model) == pytest.approx([100.01, 100.02, 100.03, 100.51])


def test_a_10_kb_message_on_an_idle_100_kbit_s_link_takes_0_84_s() -> None:
    model = model_with(rate_bit_s=100e3)
    sizes = [1448 + 66] * 6 + [10_000 - 6 * 1448 + 66]
    for number, size in enumerate(sizes):
        model.arrive(number, size, 50.0)
    assert dues_s(model)[-1] == pytest.approx(50 + 0.837, abs=0.001)


def test_it_tells_the_bytes_that_a_packet_would_wait_for() -> None:
    model = model_with(delay_s=1.0)
    assert model.waiting_bytes(0.0) == 0
    for number in range(3):
        model.arrive(number, FRAME_BYTES, 0.0)
    assert model.waiting_bytes(0.004) == pytest.approx(2.6 * FRAME_BYTES)
    model.set(LinkState(True, 10e6, 0.0, queue_bytes=10**9), 0.004)
    assert model.waiting_bytes(0.004) == pytest.approx(2.6 * FRAME_BYTES)
    model.set(HELD_STATE, 0.005)
    assert model.waiting_bytes(9.0) == model.waiting_bytes(0.005) == pytest.approx(1.6 * FRAME_BYTES)
    model.set(LinkState(True, 10e6, 0.0, queue_bytes=10**9), 10.0)
    assert model.waiting_bytes(10.1) == 0  # what still propagates is no queue


def test_a_change_of_rate_acts_on_the_bytes_that_are_left() -> None:
    model = model_with()
    for number in range(3):
        model.arrive(number, FRAME_BYTES, 0.0)
    # At 4 ms the first packet has 6 of its 10 ms to go; at ten times the rate that is 0.6, then 1 each.
    model.set(LinkState(True, 10e6, 0.0, queue_bytes=10**9), 0.004)
    assert dues_s(model) == pytest.approx([0.0046, 0.0056, 0.0066])


def test_a_change_of_rate_leaves_alone_what_is_in_flight() -> None:
    model = model_with(delay_s=0.1)
    model.arrive(1, FRAME_BYTES, 0.0)
    model.set(LinkState(True, 10e3, 0.1), 0.05)
    assert dues_s(model) == pytest.approx([0.11])


def test_a_delay_that_falls_lets_nothing_overtake() -> None:
    model = model_with(delay_s=0.3)
    model.arrive(1, FRAME_BYTES, 0.0)
    model.set(LinkState(True, 1e6, 0.005), 0.1)
    model.arrive(2, FRAME_BYTES, 0.1)
    assert model.next_due_s == pytest.approx(0.31)
    assert [verdict.packets for verdict in model.release(0.3101)] == [2]  # together, the second not before
    model.arrive(3, FRAME_BYTES, 0.5)
    assert dues_s(model) == pytest.approx([0.515])


def test_a_full_queue_drops_what_comes_last() -> None:
    model = model_with(queue_bytes=3 * FRAME_BYTES)
    taken = [model.arrive(number, FRAME_BYTES, 0.0) for number in range(5)]
    assert taken == [True, True, True, False, False]
    assert model.counters.dropped_queue == 2
    model.release(0.01)
    assert model.arrive(9, FRAME_BYTES, 0.0101)


def test_an_idle_link_takes_a_packet_larger_than_its_queue() -> None:
    model = model_with(queue_bytes=100)
    assert model.arrive(1, FRAME_BYTES, 0.0)
    assert not model.arrive(2, FRAME_BYTES, 0.0)


def test_going_down_purges_everything_and_the_next_contact_starts_afresh() -> None:
    model = model_with(delay_s=0.2)
    for number in range(4):
        model.arrive(number, FRAME_BYTES, 0.0)
    assert model.set(DOWN_STATE, 0.015) == Verdict(False, 3, 4, 4 * FRAME_BYTES)
    assert model.next_due_s is None
    assert not model.arrive(4, FRAME_BYTES, 0.016)
    model.set(LinkState(True, 1e6, 0.001), 0.02)
    model.arrive(5, FRAME_BYTES, 0.02)
    assert dues_s(model) == pytest.approx([0.031])
    assert (model.counters.purged, model.counters.dropped_down) == (4, 1)


def test_lost_packets_take_air_time_and_are_told_apart_in_order() -> None:
    model = model_with(loss=0.5)
    for number in range(200):
        model.arrive(number, FRAME_BYTES, 0.0)
    assert model.next_due_s == pytest.approx(0.01)
    verdicts = model.release(2.01)
    assert [v.last_id for v in verdicts] == sorted(v.last_id for v in verdicts)
    assert all(a.accept != b.accept for a, b in pairwise(verdicts))
    assert sum(v.packets for v in verdicts) == 200
    assert verdicts[-1].last_id == 199


def fates(seed: int, count: int, **lossy: Any) -> list[bool]:
    model = LinkModel(seed)
    model.set(LinkState(True, 1e9, 0.0, queue_bytes=10**9, **lossy), 0.0)
    found = []
    for number in range(count):
        model.arrive(number, 100, float(number))
        found.append(model.release(number + 0.5)[0].accept)
    return found


def test_loss_repeats_with_its_seed_and_has_its_share() -> None:
    assert fates(3, 500, loss=0.1) == fates(3, 500, loss=0.1)
    assert fates(3, 500, loss=0.1) != fates(4, 500, loss=0.1)
    lost = fates(3, 10_000, loss=0.1).count(False)
    assert abs(lost - 1000) < 4 * math.sqrt(10_000 * 0.1 * 0.9)


def test_a_packets_fate_depends_on_its_number_and_on_no_state_before_it() -> None:
    """Two runs whose changes come at other moments lose the same packets while their losses are the same."""
    steady = LinkModel(5)
    steady.set(LinkState(True, 1e9, 0.0, loss=0.3, queue_bytes=10**9), 0.0)
    changing = LinkModel(5)
    found: list[list[bool]] = []
    for model in (steady, changing):
        found.append([])
        for number in range(300):
            if model is changing and number % 7 == 0:
                model.set(LinkState(True, 1e9, 0.01, loss=0.3, jitter_s=0.001, queue_bytes=10**9), number)
            model.arrive(number, 100, float(number))
            found[-1].append(model.release(number + 0.5)[0].accept)
    assert found[0] == found[1]


def test_bursty_loss_has_the_share_and_the_mean_burst_of_its_chain() -> None:
    chain = GilbertElliott.of(loss=0.1, burst_packets=5)
    assert chain.mean_loss == pytest.approx(0.1)
    lost = [not arrived for arrived in fates(1, 60_000, bursty_loss=chain)]
    bursts = sum(now and not before for before, now in pairwise([False, *lost]))
    assert sum(lost) / len(lost) == pytest.approx(0.1, rel=0.1)
    assert sum(lost) / bursts == pytest.approx(5, rel=0.1)


def test_elliotts_chain_loses_in_the_good_state_and_spares_in_the_bad() -> None:
    chain = GilbertElliott(0.05, 0.2, bad_loss=0.7, good_loss=0.02)
    lost = fates(2, 60_000, bursty_loss=chain).count(False)
    assert lost / 60_000 == pytest.approx(0.2 * 0.7 + 0.8 * 0.02, rel=0.05)


def test_jitter_is_uniform_about_the_delay_and_lets_nothing_overtake() -> None:
    model = model_with(rate_bit_s=1e9, delay_s=0.1, jitter_s=0.04)
    delays_s = []
    for number in range(5000):
        model.arrive(number, FRAME_BYTES, float(number))
        delays_s.append(dues_s(model)[0] - number - 1e-5)
    assert min(delays_s) == pytest.approx(0.06, abs=0.001)
    assert max(delays_s) == pytest.approx(0.14, abs=0.001)
    assert sum(delays_s) / 5000 == pytest.approx(0.1, abs=4 * 0.08 / math.sqrt(12 * 5000))
    for number in range(200):
        model.arrive(number, 100, 1e4 + number * 1e-3)
    left_s = dues_s(model)
    assert left_s == sorted(left_s)
    assert model.counters.delivered == 5200


def test_a_queue_in_seconds_follows_the_rate() -> None:
    model = model_with(queue_s=0.03)
    assert [model.arrive(number, FRAME_BYTES, 0.0) for number in range(4)] == [True, True, True, False]
    assert LinkState(True, 8e6, 0.0, queue_s=0.05).queue_limit_bytes == 50_000
    assert LinkState(True, 8.0, 0.0, queue_s=0.05).queue_limit_bytes == 1


def test_a_held_link_stops_the_time_of_what_waits_and_of_what_flies() -> None:
    model = model_with(delay_s=0.1)
    for number in range(3):
        model.arrive(number, FRAME_BYTES, 0.0)
    # At 15 ms the first flies, the second has 5 ms to go, the third waits; the gap lasts 1000 s.
    assert model.set(HELD_STATE, 0.015) is None
    assert model.next_due_s is None
    assert model.release(500.0) == []
    model.set(HELD_STATE, 600.0)  # said again, it holds on
    model.set(model_with(delay_s=0.1).state, 1000.015)
    assert dues_s(model) == pytest.approx([1000.11, 1000.12, 1000.13])
    assert model.counters.delivered == 3


def test_a_held_link_takes_on_a_new_rate_and_delay_and_can_still_be_purged() -> None:
    model = model_with(delay_s=0.1)
    for number in range(3):
        model.arrive(number, FRAME_BYTES, 0.0)
    model.set(HELD_STATE, 0.015)
    assert model.arrive(3, FRAME_BYTES, 0.016)  # it was on its way when the contact ended
    model.set(LinkState(True, 10e6, 0.2), 5.015)
    assert dues_s(model) == pytest.approx([5.11, 5.2155, 5.2165, 5.2175])
    model.arrive(4, FRAME_BYTES, 6.0)
    model.set(HELD_STATE, 6.0)
    assert model.set(DOWN_STATE, 7.0) == Verdict(False, 4, 1, FRAME_BYTES)
    assert not model.arrive(5, FRAME_BYTES, 7.0)


def test_a_link_that_is_held_before_its_first_contact_keeps_what_comes() -> None:
    model = LinkModel()
    model.set(HELD_STATE, 1.0)
    for number in range(2):
        assert model.arrive(number, FRAME_BYTES, 2.0)
    model.set(LinkState(True, 1e6, 0.0), 3.0)
    assert dues_s(model) == pytest.approx([3.01, 3.02])


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["packet", "packet", "packet", "set", "down", "hold", "release"]),
        st.floats(0, 0.05),  # time since the event before
        st.integers(60, 9014),
        st.floats(1e4, 1e9),
        st.floats(0, 0.3),
    ),
    max_size=60,
)


@given(EVENTS)
def test_nothing_is_reordered_forgotten_or_early_whatever_happens(
    events: list[tuple[str, float, int, float, float]],
) -> None:
    model = model_with()
    now_s, released, arrival_s = 0.0, [], {}
    for number, (kind, after_s, size, rate_bit_s, delay_s) in enumerate(events):
        now_s += after_s
        if kind == "packet":
            arrival_s[number] = now_s
            model.arrive(number, size, now_s)
        elif kind == "release":
            released += [(verdict.last_id, now_s) for verdict in model.release(now_s)]
        else:
            played = LinkState(True, rate_bit_s, delay_s, jitter_s=delay_s / 2)
            model.set({"set": played, "down": DOWN_STATE, "hold": HELD_STATE}[kind], now_s)
    model.set(LinkState(True, 1e9, 0.0), now_s)
    released += [(verdict.last_id, 1e9) for verdict in model.release(1e9)]
    ids = [packet_id for packet_id, _ in released]
    assert ids == sorted(ids)
    assert all(at_s > arrival_s[packet_id] for packet_id, at_s in released)
    c = model.counters
    assert c.arrived == c.delivered + c.lost + c.dropped_queue + c.dropped_down + c.purged


def test_a_super_packet_is_one_parcel_and_counts_as_its_packets() -> None:
    model = model_with(queue_bytes=10 * FRAME_BYTES)
    assert model.arrive(1, 4 * FRAME_BYTES, 0.0, packets=4)
    assert model.arrive(2, 4 * FRAME_BYTES, 0.0, packets=4)
    assert not model.arrive(3, 4 * FRAME_BYTES, 0.0, packets=4), "12 packets do not fit into a queue of 10"
    assert model.inside == 8
    assert model.next_due_s == pytest.approx(0.040)
    assert model.release(0.040) == [Verdict(True, 1, 4, 4 * FRAME_BYTES)]
    assert model.set(DOWN_STATE, 0.050) == Verdict(False, 2, 4, 4 * FRAME_BYTES)
    counters = model.counters
    assert (counters.arrived, counters.delivered, counters.dropped_queue, counters.purged) == (12, 4, 4, 4)


def test_packets_meet_the_same_fate_whether_those_before_came_as_one_or_not() -> None:
    def fates(*sizes: int) -> list[bool]:
        model = model_with(rate_bit_s=1e9)
        for number, packets in enumerate(sizes):
            model.arrive(number, FRAME_BYTES * packets, 0.0, packets)
        model.set(LinkState(True, 1e9, 0.0, 0.5, queue_bytes=10**9), 1.0)
        model.release(1.0)
        return [
            verdict.accept
            for n in range(40)
            if model.arrive(n, 100, 2.0 + n)
            for verdict in model.release(3.0 + n)
        ]

    assert fates(4, 4) == fates(*[1] * 8)
