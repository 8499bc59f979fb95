"""When a stream is dense enough for slots."""

from __future__ import annotations

from testbed.network.shapers.nfqueue.process import DENSE_OVER_S, DENSE_PACKETS_S, Density


def looks(packets_s: float, every_s: float, count: int = 200) -> list[bool]:
    density, found = Density(), []
    for number in range(count):
        density.count(round(packets_s * every_s * (number + 1)) - round(packets_s * every_s * number))
        found.append(density.is_dense(1000.0 + number * every_s))
    return found[len(found) // 2 :]


def test_a_stream_is_dense_above_the_bound_only() -> None:
    assert all(looks(1.2 * DENSE_PACKETS_S, DENSE_OVER_S / 7))
    assert not any(looks(0.8 * DENSE_PACKETS_S, DENSE_OVER_S / 7))


def test_it_is_over_when_packets_stay_away() -> None:
    density = Density()
    density.is_dense(10.0)
    density.count(1000)
    assert density.is_dense(10.0 + 1.1 * DENSE_OVER_S) and density.dense
    assert density.is_dense(10.0 + 1.5 * DENSE_OVER_S), "looks anew after a while only"
    assert not density.is_dense(10.0 + 2.3 * DENSE_OVER_S)
