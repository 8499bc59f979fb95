"""Times: a zone is demanded, and what is written is read back."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traces.errors import TimeError
from traces.utc import format_utc, parse_utc


def test_zones_become_utc():
    noon = datetime(2018, 1, 20, 12, tzinfo=timezone.utc)
    for text in ("2018-01-20T12:00:00Z", "2018-01-20 12:00:00+00:00", "2018-01-20T17:30:00+05:30"):
        assert parse_utc(text) == noon
    assert format_utc(noon) == "2018-01-20T12:00:00Z"


@given(st.datetimes(timezones=st.just(timezone.utc)))
def test_what_is_written_is_read_back(moment: datetime):
    assert parse_utc(format_utc(moment)) == moment


@pytest.mark.parametrize(
    "text", ["", "Z", "noon", "2018-01-20", "2018-01-20T12:00:00", "0001-01-01T00:00:00+14:00"]
)
def test_what_is_no_time_is_refused(text):
    with pytest.raises(TimeError, match="write it like 2018-01-20T00:00:00Z"):
        parse_utc(text)
