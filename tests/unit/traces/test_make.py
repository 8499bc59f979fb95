"""Traces from orbits: rows where they belong, and the same numbers as the orbit and the radio give."""

from __future__ import annotations

import warnings
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from traces.errors import StaleElementsWarning, TraceError
from traces.make import make_trace
from traces.orbits.element_set import ElementSet
from traces.orbits.orbit import look_angles
from traces.orbits.passes import passes_over
from traces.orbits.tle import parse_tle
from traces.radio.link_budget import DOVE_S_BAND_UPLINK, DOVE_X_BAND
from traces.trace import Trace
from traces.trace_file import read_trace, write_trace


@pytest.fixture(scope="module")
def half_day(dove, svalbard, day) -> Trace:
    return make_trace(dove, svalbard, day, 43_200)


def test_contacts_are_the_passes(half_day, dove, svalbard, day):
    found = passes_over(dove, svalbard, day, 43_200)
    contacts = half_day.contacts()
    assert [one.aos_s for one in contacts] == pytest.approx([one.aos_s for one in found], abs=1e-3)
    assert [one.los_s for one in contacts] == pytest.approx([one.los_s for one in found], abs=1e-3)
    assert half_day.end_s == 43_200


def test_rows_stand_at_aos_each_step_and_los(half_day):
    first = half_day.contacts()[0]
    inside = half_day.time_s[(half_day.time_s >= first.aos_s) & (half_day.time_s <= first.los_s)]
    assert inside[0] == first.aos_s
    assert inside[-1] == first.los_s
    assert inside[1:-1].tolist() == list(range(int(first.aos_s) + 1, int(first.los_s) + 1))
    # Between contacts there is one row.
    assert np.count_nonzero(~half_day.up) == len(half_day.contacts()) + 1
    assert not half_day.down_bit_s[~half_day.up].any()


def test_delay_and_rate_are_those_of_the_distance(half_day, dove, svalbard, day):
    up = half_day.up
    ranges_m = look_angles(dove, svalbard, day, half_day.time_s[up]).slant_range_m
    assert half_day.down_delay_s[up] == pytest.approx(ranges_m / 299_792_458, abs=1e-9)
    assert np.array_equal(half_day.down_delay_s, half_day.up_delay_s)
    assert np.array_equal(half_day.down_bit_s[up], DOVE_X_BAND.rate_bit_s(ranges_m))
    assert set(half_day.up_bit_s[up]) == {250e3}
    assert half_day.extra["elevation_deg"][up].min() >= 5 - 1e-3


def test_the_header_says_how_to_make_it_again(half_day, svalbard):
    notes = "\n".join(half_day.header.notes)
    lines = [note.removeprefix("elements: ") for note in half_day.header.notes[:2]]
    (elements,) = parse_tle("\n".join([half_day.header.satellite, *lines]))
    again = make_trace(elements, svalbard, half_day.header.start_utc, half_day.end_s)
    assert again == half_day
    assert half_day.header.element_epoch_utc == elements.epoch_utc
    assert "elevation mask 5 deg" in notes
    assert "8.2 GHz" in notes


def test_a_made_trace_survives_its_file(half_day, tmp_path: Path):
    write_trace(half_day, tmp_path / "day.csv")
    assert read_trace(tmp_path / "day.csv") == half_day


def test_a_window_inside_a_contact_is_all_up(dove, svalbard, day):
    trace = make_trace(dove, svalbard, day + timedelta(seconds=41_500.25), 60, step_s=0.5)
    assert trace.up.all()
    assert trace.time_s.tolist() == [index * 0.5 for index in range(120)]
    assert [(one.aos_s, one.los_s) for one in trace.contacts()] == [(0, 60)]


def test_a_window_without_a_pass_is_one_row(dove, svalbard, day):
    trace = make_trace(dove, svalbard, day, 600)
    assert trace.time_s.tolist() == [0]
    assert trace.contacts() == []


def test_mask_cap_and_step_are_followed(dove, svalbard, day):
    trace = make_trace(
        dove,
        svalbard,
        day + timedelta(hours=6),
        7200,
        downlink=DOVE_X_BAND.capped(4e6),
        uplink=DOVE_S_BAND_UPLINK.capped(1e5),
        elevation_mask_deg=10,
        step_s=10,
    )
    (contact,) = trace.contacts()
    assert contact.duration_s == pytest.approx(172.13, abs=0.1)
    assert set(trace.down_bit_s[trace.up]) == {4e6}
    assert set(trace.up_bit_s[trace.up]) == {1e5}
    assert (trace.time_s[trace.up][1:] % 10 == 0).all()


def test_a_direction_is_down_where_its_radio_does_not_close(dove, svalbard, day):
    weak = replace(DOVE_X_BAND, eirp_dbw=DOVE_X_BAND.eirp_dbw - 8)
    start = day + timedelta(seconds=41_200)
    strong_trace = make_trace(dove, svalbard, start, 700)
    trace = make_trace(dove, svalbard, start, 700, downlink=weak)
    (contact,), (full,) = trace.contacts("down"), strong_trace.contacts("down")
    assert full.aos_s < contact.aos_s < contact.los_s < full.los_s
    assert trace.contacts("both") == [contact]
    assert trace.contacts() == trace.contacts("up") == strong_trace.contacts("both") == [full]
    outside = trace.time_s < contact.aos_s
    assert (trace.down_bit_s[outside] == 0).all()
    assert np.array_equal(trace.up_bit_s[trace.uplink_up], strong_trace.up_bit_s[strong_trace.uplink_up])


def test_old_elements_warn_with_their_age_and_fresh_ones_do_not(dove, svalbard, day):
    with pytest.warns(StaleElementsWarning, match=r"40\.\d days"):
        make_trace(dove, svalbard, day + timedelta(days=41), 600)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_trace(dove, svalbard, day, 600)


@pytest.mark.parametrize("step_s", [0, -1, float("nan"), 1e-4])
def test_steps_that_cannot_be(dove: ElementSet, svalbard, day, step_s):
    with pytest.raises(TraceError, match="step is"):
        make_trace(dove, svalbard, day, 600, step_s=step_s)
