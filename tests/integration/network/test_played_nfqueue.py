"""Acceptance test of the nfqueue shaper: delay to 1 ms and rate to 90 % while a link follows a pass."""

import pytest

from tests.support.played_link import check_follows_a_pass


@pytest.mark.alone
@pytest.mark.root
@pytest.mark.parametrize("rate_bit_s", [20e6, 100e6])
def test_a_link_that_follows_a_pass_keeps_its_delay_and_rate(rate_bit_s: float) -> None:
    check_follows_a_pass("nfqueue", rate_bit_s)
