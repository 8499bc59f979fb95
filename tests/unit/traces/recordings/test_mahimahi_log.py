"""Logs of mm-link: the opportunities of one direction, from the base timestamp on."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.recording_samples import MAHIMAHI_LOG
from traces.errors import TraceError
from traces.recordings import Assumptions, parse_recording
from traces.trace import Contact, Trace

LEOREPLAYER = MAHIMAHI_LOG.replace(b"(uplink)", b"(Downlink)").replace(b"stamp: 12", b"stamp: 1700182800012")
for _moment in (13, 14, 112, 212):
    LEOREPLAYER = LEOREPLAYER.replace(b"\n%d " % _moment, b"\n%d " % (1_700_182_800_000 + _moment))


def trace_of(data: bytes, **values: Any) -> Trace:
    return parse_recording(data, "up.log", Assumptions(delay_s=0.01, **values))


@pytest.mark.parametrize(("data", "other"), [(MAHIMAHI_LOG, "down"), (LEOREPLAYER, "up")])
def test_opportunities_of_the_direction_that_the_log_names(data, other):
    trace = trace_of(data, **{f"{other}_bit_s": 5e6})
    own = trace.up_bit_s if other == "down" else trace.down_bit_s
    assert own.tolist() == pytest.approx([3 * 1504 * 80, 1504 * 80])  # at 1, 2, 100 and 200 ms
    assert set((trace.down_bit_s if other == "down" else trace.up_bit_s).tolist()) == {5e6}
    assert trace.end_s == 0.2
    assert trace.header.start_utc.timestamp() == pytest.approx(1_700_182_800.012)


def test_the_other_direction_is_the_same_unless_it_is_given():
    trace = trace_of(MAHIMAHI_LOG)
    assert trace.down_bit_s.tolist() == trace.up_bit_s.tolist()


@pytest.mark.parametrize(("data", "way"), [(MAHIMAHI_LOG, "up"), (LEOREPLAYER, "down")])
def test_an_outage_is_that_of_the_direction_that_the_log_names(data, way):
    base_ms = int(data.split(b"base timestamp: ")[1].split(b"\n")[0])
    lines = "".join(f"{base_ms + t} # 1504\n" for t in (*range(300, 1000, 10), *range(3000, 4001, 10)))
    other = "down" if way == "up" else "up"
    trace = trace_of(data + lines.encode(), **{f"{other}_bit_s": 5e6})
    assert len(trace.contacts(way)) == 2
    assert trace.contacts(other) == trace.contacts() == [Contact(0, 4)]


def test_a_run_on_one_log_can_be_repeated():
    assert trace_of(MAHIMAHI_LOG, loop_s=2.0).end_s == 2


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (b" # 1504", b" x 1504", "line 6: expected an event such as '15 # 1504'"),
        (b"# base timestamp: 12\n", b"", "expected '# base timestamp: N'; found none"),
        (b"base timestamp: 12", b"base timestamp: 500", "expected opportunities from 500 on"),
        (b"212 # 1504", b"212 # 1500", r"opportunities of one size; found \[1500, 1504\]"),
    ],
)
def test_what_is_no_log_is_refused(before, after, expected):
    with pytest.raises(TraceError, match=expected):
        trace_of(MAHIMAHI_LOG.replace(before, after))
