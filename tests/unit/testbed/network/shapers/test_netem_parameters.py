"""The netem that a state becomes, in the kernel's units and bytes."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.network.link_state import DOWN_STATE, GilbertElliott, LinkState
from testbed.network.shapers.netem.parameters import CLOSED, NetemParameters

share = st.floats(0, 1)
delay_s = st.floats(0, 300)
chains = st.builds(GilbertElliott, share, st.floats(1e-6, 1), share, share)


@st.composite
def states(draw: st.DrawFn) -> LinkState:
    delay, bursty = draw(delay_s), draw(st.none() | chains)
    return LinkState(
        up=True,
        rate_bit_s=draw(st.floats(8, 1e12)),
        delay_s=delay,
        loss=draw(share) if bursty is None else 0.0,
        queue_bytes=draw(st.integers(1, 10**8)),
        jitter_s=delay * draw(share),
        bursty_loss=bursty,
        queue_s=draw(st.none() | st.floats(1e-3, 1)),
    )


@given(states())
def test_the_kernels_bytes_carry_every_field(state: LinkState) -> None:
    written = NetemParameters.of(state)
    assert NetemParameters.from_options(written.options()) == written
    assert len(written.options()) % 4 == 0


@given(states())
def test_a_state_comes_back_but_for_rounding(state: LinkState) -> None:
    held = NetemParameters.of(state).state()
    assert held.rate_bit_s == pytest.approx(state.rate_bit_s, abs=4)
    assert held.delay_s == pytest.approx(state.delay_s, abs=1e-9)
    assert held.loss == pytest.approx(state.loss, abs=1e-9)
    assert held.jitter_s == pytest.approx(state.jitter_s, abs=1e-9)
    assert (held.bursty_loss is None) == (state.bursty_loss is None)
    if held.bursty_loss is not None and state.bursty_loss is not None:
        assert held.bursty_loss.mean_loss == pytest.approx(state.bursty_loss.mean_loss, abs=1e-3)
    if NetemParameters.of(state).limit < 2**32 - 1:
        assert 0 <= held.queue_limit_bytes - state.queue_limit_bytes < 1514


def test_down_is_a_netem_that_drops_everything() -> None:
    assert NetemParameters.of(DOWN_STATE) == CLOSED
    assert NetemParameters.of(LinkState(False, 1e6, 0.1)) == CLOSED
    assert CLOSED.state() == DOWN_STATE


def test_the_limit_holds_what_flies_and_what_waits() -> None:
    # 100 Mbit/s x 20 ms = 250 kB = 166 frames of 1514 bytes in flight, and 661 more wait in 1 MB.
    assert NetemParameters.of(LinkState(True, 100e6, 0.02)).limit == 166 + 661
    assert NetemParameters.of(LinkState(True, 1e5, 0.0, queue_bytes=1)).limit == 1


def test_rates_are_bytes_per_second_and_64_bits_beyond_34_gbit_s() -> None:
    """tc's `bps` is bytes too: two published emulators took it for bits."""
    assert NetemParameters.of(LinkState(True, 8e6, 0.0)).rate_byte_s == 1_000_000
    wide = NetemParameters.of(LinkState(True, 80e9, 0.0))
    assert struct.pack("=Q", 10_000_000_000) in wide.options()
    assert wide.state().rate_bit_s == 80e9
