"""Link budgets: hand-worked values, the DVB-S2 table, and the published anchor of a Dove."""

from __future__ import annotations

import importlib.util
import math
import re
import sys
from dataclasses import replace
from functools import partial
from importlib.metadata import requires
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from traces.errors import LinkBudgetError
from traces.orbits.orbit import look_angles
from traces.orbits.passes import passes_over
from traces.radio.link_budget import (
    DOVE_S_BAND_UPLINK,
    DOVE_X_BAND,
    DVB_S2,
    PRESETS,
    RadioLink,
    dvb_s2,
    free_space_loss_db,
    one_way_delay_s,
    preset,
    undominated,
)
from traces.radio.weather import attenuation_db


def test_free_space_loss_against_the_handbook_form():
    # ITU-R P.525-4: 32.4 + 20 log f[MHz] + 20 log d[km]
    assert free_space_loss_db(500e3, 8.2e9) == pytest.approx(
        32.45 + 20 * math.log10(8200) + 20 * math.log10(500), abs=0.01
    )
    doubled = free_space_loss_db([1e6, 2e6], 2e9)
    assert doubled[1] - doubled[0] == pytest.approx(6.0206, abs=1e-4)


def test_es_n0_worked_by_hand():
    link = RadioLink(
        carrier_hz=8e9, eirp_dbw=10, g_over_t_db_k=20, symbol_rate_hz=1e6, losses_db=3, margin_db=2
    )
    # 10 - 170.50 - 3 + 20 + 228.60 - 60 - 2, loss over 1000 km at 8 GHz: 32.45 + 78.06 + 60 = 170.51
    assert link.es_n0_db(1e6) == pytest.approx(23.09, abs=0.02)
    assert link.bandwidth_hz == pytest.approx(1.2e6)


def test_delay_is_distance_over_light():
    assert one_way_delay_s(299_792_458) == 1.0


def test_the_table_is_whole_and_below_shannon():
    assert len(DVB_S2) == 28
    for modcod in DVB_S2:
        assert modcod.bit_per_symbol < math.log2(1 + 10 ** (modcod.es_n0_db / 10))
        # The name's own numbers bound the efficiency: bits per symbol times code rate, headers taken off.
        modulation, rate = modcod.name.split()
        bits = {"QPSK": 2, "8PSK": 3, "16APSK": 4, "32APSK": 5}[modulation]
        top, bottom = rate.split("/")
        assert 0.96 < modcod.bit_per_symbol / (bits * int(top) / int(bottom)) < 1


def test_dominated_modcods_are_dropped():
    kept = undominated(DVB_S2)
    dropped = {modcod.name for modcod in set(DVB_S2) - set(kept)}
    assert dropped == {"QPSK 8/9", "8PSK 5/6", "8PSK 8/9", "8PSK 9/10", "16APSK 8/9", "16APSK 9/10"}
    for slower, faster in pairwise(kept):
        assert slower.es_n0_db < faster.es_n0_db
        assert slower.bit_per_symbol < faster.bit_per_symbol


@given(st.floats(-20, 30))
def test_the_modem_takes_the_fastest_modcod_that_closes(es_n0_db: float):
    link = RadioLink(carrier_hz=8e9, eirp_dbw=0, g_over_t_db_k=0, symbol_rate_hz=1e6)
    at_1000_km = float(link.es_n0_db(1e6))
    link = replace(link, eirp_dbw=es_n0_db - at_1000_km)
    reached = float(link.es_n0_db(1e6))
    fastest = max((m.bit_per_symbol for m in DVB_S2 if m.es_n0_db <= reached), default=0)
    assert link.rate_bit_s(1e6)[0] == math.floor(fastest * 1e6)


@given(st.lists(st.floats(4e5, 3e6), min_size=1, max_size=30), st.floats(0, 3))
def test_hysteresis_never_takes_a_modcod_that_does_not_close(ranges, hysteresis_db):
    link = replace(DOVE_X_BAND, hysteresis_db=hysteresis_db)
    free = DOVE_X_BAND.modcod_indices(ranges)
    held = link.modcod_indices(ranges)
    assert (held <= free).all()
    es_n0_db = link.es_n0_db(ranges) - hysteresis_db
    thresholds = np.array([modcod.es_n0_db for modcod in link.modcods])
    assert (held >= np.searchsorted(thresholds, es_n0_db - 1e-9, side="right") - 1).all()


def test_hysteresis_stops_hopping_between_two_modcods():
    step_m = 2e3
    ranges = 1.0e6 + step_m * np.array([0, 1] * 20)
    plain = DOVE_X_BAND
    # Set the power so that the two distances lie on either side of a threshold.
    middle = float(plain.es_n0_db(1.0e6 + step_m / 2))
    plain = replace(plain, eirp_dbw=plain.eirp_dbw + 4.03 - middle)
    assert len(set(plain.rate_bit_s(ranges))) == 2
    held = replace(plain, hysteresis_db=0.5).rate_bit_s(ranges)
    assert len(set(held[1:])) == 1


def test_a_dove_peaks_at_220_and_averages_160_mbit_s(dove, svalbard, day):
    """The published anchor (SSC17-VII-02), over the day's best pass above 5 degrees."""
    best = max(passes_over(dove, svalbard, day, 86_400), key=lambda one: one.max_elevation_deg)
    ranges_m = look_angles(dove, svalbard, day, np.arange(best.aos_s, best.los_s)).slant_range_m
    rates = DOVE_X_BAND.rate_bit_s(ranges_m)
    assert rates.max() == pytest.approx(220e6, rel=0.01)
    assert rates.mean() == pytest.approx(160e6, rel=0.02)
    assert rates.min() > 0
    assert DOVE_X_BAND.rate_bit_s(475e3)[0] == rates.max()
    assert set(DOVE_S_BAND_UPLINK.rate_bit_s(ranges_m)) == {250e3}


def test_a_cap_makes_the_link_narrow():
    assert DOVE_X_BAND.capped(4e6).rate_bit_s([5e5, 2e6]).tolist() == [4e6, 4e6]
    assert DOVE_X_BAND.capped(4e6).capped(None) == DOVE_X_BAND
    assert DOVE_X_BAND.capped(4e6).rate_bit_s(1e8)[0] == 0  # a cap does not close a link
    assert "capped at 4e+06 bit/s" in DOVE_X_BAND.capped(4e6).summary()


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("carrier_hz", 0, "carrier_hz is 0; expected a number above 0"),
        ("symbol_rate_hz", math.inf, "symbol_rate_hz is inf"),
        ("rate_cap_bit_s", -1, "rate_cap_bit_s is -1"),
        ("losses_db", -1, "losses_db is -1"),
        ("hysteresis_db", math.nan, "hysteresis_db is nan"),
        ("eirp_dbw", math.nan, "eirp_dbw is nan"),
        ("modcods", (), "modcods is empty"),
    ],
)
def test_radios_that_cannot_be(field, value, expected):
    with pytest.raises(LinkBudgetError) as caught:
        replace(DOVE_X_BAND, **{field: value})
    assert expected in str(caught.value)


def test_names_that_are_not_there():
    assert preset("dove").downlink is DOVE_X_BAND
    with pytest.raises(LinkBudgetError, match="no radio preset 'dave'; expected one of dove"):
        preset("dave")
    with pytest.raises(LinkBudgetError, match="MODCOD '8PSK 5/6' cannot be chosen"):
        dvb_s2(fastest="8PSK 5/6")
    with pytest.raises(LinkBudgetError, match="swap them"):
        dvb_s2("32APSK 3/4", "QPSK 1/4")


def test_every_preset_closes_overhead_and_says_what_it_is():
    for name, radio in PRESETS.items():
        assert preset(name) is radio
        for link in (radio.downlink, radio.uplink):
            assert link.rate_bit_s(550e3)[0] > 0
            assert link.summary()


def test_the_cubesat_presets_carry_their_published_rates():
    s_band, uhf = preset("cubesat-s-band"), preset("cubesat-uhf")
    # The course's problem: 600 km high, 2830.83 km away at the horizon; Eb/N0 by its own equation.
    eb_n0_db = 0 + 5 + 196.15 - 20 * math.log10(2830.83) - 20 * math.log10(2215) - 10 * math.log10(256e3)
    assert s_band.downlink.es_n0_db(2_830_830) == pytest.approx(eb_n0_db, abs=0.05)
    assert s_band.downlink.rate_bit_s([600e3, 2_830_830]).tolist() == [256e3, 256e3]
    assert uhf.downlink.rate_bit_s([500e3, 2_078e3]).tolist() == [9600, 9600]
    assert uhf.uplink.rate_bit_s([500e3, 2_078e3]).tolist() == [9600, 9600]


def test_the_starlink_like_preset_is_one_users_share_of_240_mhz():
    link = preset("starlink-like").downlink
    assert link.bandwidth_hz == 240e6
    overhead, edge = 550e3, 1_123e3  # 25 degrees
    assert link.rate_bit_s([overhead, edge]).tolist() == [200e6, 200e6]
    whole = link.capped(None).rate_bit_s([overhead, edge])
    assert 300e6 < whole[1] < whole[0] < 900e6


def test_weather_takes_from_the_rate_or_says_what_is_missing(svalbard):
    asked = partial(attenuation_db, svalbard, 20e9, [90.0, 30.0, 10.0, 5.0, 1.0])
    if importlib.util.find_spec("itur") is None:
        with pytest.raises(LinkBudgetError, match="pip install"):
            asked(exceeded_percent=0.1)
        return
    often, seldom = asked(exceeded_percent=1.0), asked(exceeded_percent=0.1)
    assert (np.diff(often) >= 0).all()  # more at lower elevations; below 5 degrees as at 5
    assert often[3] == pytest.approx(often[4], rel=1e-3)
    assert (seldom > 1.3 * often).all()
    assert 0.5 < seldom[0] < 5
    wet = DOVE_X_BAND.rate_bit_s([1_500e3], weather_db=[6.0])
    assert 0 < wet[0] < DOVE_X_BAND.rate_bit_s(1_500e3)[0]


def test_what_weather_lacks_is_an_extra_of_this_project(svalbard, monkeypatch):
    monkeypatch.setitem(sys.modules, "itur", None)  # as where it is not installed
    with pytest.raises(LinkBudgetError) as caught:
        attenuation_db(svalbard, 20e9, 30.0, exceeded_percent=0.1)
    (extra,) = re.findall(r"spaceverse-testbed\[(\w+)\]", str(caught.value))
    marked = f"""extra == "{extra}\""""
    assert any(need.startswith("itur") and marked in need for need in requires("spaceverse-testbed") or ())


def test_weather_out_of_range_is_refused(svalbard):
    for carrier_hz, percent in ((0.4e9, 0.1), (20e9, 0), (20e9, 80)):
        with pytest.raises(LinkBudgetError, match=r"P\.618 covers"):
            attenuation_db(svalbard, carrier_hz, 30.0, exceeded_percent=percent)
