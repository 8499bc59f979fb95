"""What a state may be, and how it travels."""

from typing import Any

import pytest

from testbed.network.link_state import DOWN_STATE, HELD_STATE, GilbertElliott, LinkState


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"rate_bit_s": 0}, "rate_bit_s is 0 while up; the least is 8.0"),
        ({"rate_bit_s": float("nan")}, "rate_bit_s"),
        ({"delay_s": -0.1}, "delay_s"),
        ({"delay_s": float("inf")}, "delay_s"),
        ({"delay_s": 0.01, "jitter_s": 0.02}, "jitter_s is 0.02; it is 0 to delay_s"),
        ({"loss": 1.1}, "loss is 1.1"),
        ({"loss": 0.1, "bursty_loss": GilbertElliott(0.1, 0.1)}, "both loss and bursty_loss are set"),
        ({"queue_bytes": 0}, "queue_bytes"),
        ({"queue_s": 0.0}, "queue_s"),
    ],
)
def test_what_cannot_be_is_refused_by_name(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        LinkState(**{"up": True, "rate_bit_s": 1e6, "delay_s": 0.1, **fields})


@pytest.mark.parametrize("chain", [(1.1, 0.5), (0.1, 0.0), (0.1, 0.1, 2.0), (0.1, 0.1, 1.0, -0.1)], ids=str)
def test_a_chain_that_cannot_be_is_refused(chain: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"bad_to_good|good_to_bad|bad_loss|good_loss"):
        GilbertElliott(*chain)


@pytest.mark.parametrize(("loss", "burst_packets"), [(1.0, 3), (0.9, 2), (0.1, 0.5)])
def test_no_chain_can_have_every_mean(loss: float, burst_packets: float) -> None:
    with pytest.raises(ValueError, match="loss"):
        GilbertElliott.of(loss, burst_packets)


@pytest.mark.parametrize(
    "state",
    [
        DOWN_STATE,
        HELD_STATE,
        LinkState(True, 1e6, 0.1, 0.01, 5000, 0.05),
        LinkState(True, 1e6, 0.1, bursty_loss=GilbertElliott(0.1, 0.2, 0.9, 0.01), queue_s=0.2),
    ],
    ids=["down", "held", "plain", "bursty"],
)
def test_a_state_travels_whole(state: LinkState) -> None:
    assert LinkState.from_json(state.to_json()) == state
    assert LinkState.from_row(state.to_row()) == state


def test_on_a_faster_link_all_takes_as_much_less_time() -> None:
    chain = GilbertElliott(0.1, 0.2)
    asked = LinkState(True, 1e6, 0.1, 0.0, 5000, jitter_s=0.02, bursty_loss=chain, queue_s=0.2)
    assert asked.accelerated(1) is asked
    assert DOWN_STATE.accelerated(20) == DOWN_STATE
    fast = asked.accelerated(20)
    assert (fast.rate_bit_s, fast.delay_s, fast.jitter_s) == (20e6, 0.005, 0.001)
    assert fast.queue_limit_bytes == asked.queue_limit_bytes  # and so as much less time, too
    assert (fast.up, fast.loss, fast.bursty_loss, fast.queue_bytes) == (True, 0.0, chain, 5000)
