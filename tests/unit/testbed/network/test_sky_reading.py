"""What counts as "the link holds what was requested"."""

from dataclasses import replace

import pytest

from testbed.network.link import differences
from testbed.network.link_state import DOWN_STATE, HELD_STATE, GilbertElliott, LinkState

ASKED = LinkState(True, 20e6, 0.010, loss=0.05)


def test_rounding_is_no_difference() -> None:
    assert differences(ASKED, LinkState(True, 20e6 - 7, 0.0100000004, loss=0.05 + 2**-32)) == ""
    assert differences(DOWN_STATE, LinkState(False, 8.0, 0.5)) == ""
    assert differences(ASKED, replace(ASKED, queue_bytes=1_000_000 + 740)) == ""  # netem's whole frames


def test_a_chain_and_an_end_are_compared_too() -> None:
    bursty = LinkState(True, 20e6, 0.010, bursty_loss=GilbertElliott(0.1, 0.2))
    assert differences(bursty, replace(bursty, bursty_loss=GilbertElliott(0.1, 0.2 + 1e-9))) == ""
    assert "bad_to_good" in differences(bursty, replace(bursty, bursty_loss=GilbertElliott(0.1, 0.3)))
    assert "hold" in differences(HELD_STATE, DOWN_STATE)


@pytest.mark.parametrize(
    ("held", "named"),
    [
        (LinkState(True, 160e6, 0.010, loss=0.05), "rate_bit_s"),  # bits taken for bytes
        (LinkState(True, 20e6, 0.020, loss=0.05), "delay_s"),
        (LinkState(True, 20e6, 0.010, loss=0.0), "loss"),
        (LinkState(True, 20e6, 0.010, loss=0.05, jitter_s=0.001), "jitter_s"),
        (LinkState(True, 20e6, 0.010, bursty_loss=GilbertElliott.of(0.05, 2)), "loss"),
        (LinkState(True, 20e6, 0.010, loss=0.05, queue_bytes=64_000), "queue of 1000000 bytes"),
        (LinkState(False, 20e6, 0.010, loss=0.05), "up"),
    ],
)
def test_anything_more_is_named(held: LinkState, named: str) -> None:
    assert named in differences(ASKED, held)
