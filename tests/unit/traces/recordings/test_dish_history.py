"""History of a Starlink dish: ring buffers in order, losses, and throughput that is no capacity."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.support.recording_samples import DISH_HISTORY
from traces.errors import TraceError
from traces.recordings import Assumptions, parse_recording
from traces.trace import Contact, Trace

HISTORY: dict[str, Any] = json.loads(DISH_HISTORY)["dishGetHistory"]


def trace_of(history: dict[str, Any], key: str | None = "dishGetHistory", **values: Any) -> Trace:
    document = history if key is None else {key: history}
    return parse_recording(json.dumps(document).encode(), "dish.json", Assumptions(**values))


def test_the_oldest_sample_comes_first_and_lost_seconds_are_an_outage():
    trace = trace_of(HISTORY)  # sample 7 is at index 1, so the order is 2, 3, 4, 0, 1
    assert trace.end_s == 5
    assert trace.contacts() == [Contact(1, 5)]
    rtt_ms = [round(1e3 * 2 * trace.row_at(second + 0.5).down_delay_s, 6) for second in range(1, 5)]
    assert rtt_ms == [30, 40, 50, 60]
    losses = [trace.row_at(second + 0.5).down_loss for second in range(1, 5)]
    assert [(1 - loss) ** 2 for loss in losses] == pytest.approx([1, 1, 0.75, 1])


def test_buffers_that_are_not_yet_full():
    trace = trace_of({**HISTORY, "current": 2})
    assert trace.end_s == 2
    assert [2 * trace.row_at(second).up_delay_s for second in (0, 1)] == pytest.approx([0.05, 0.06])
    assert trace_of({**HISTORY, "current": 5}).end_s == 5


def test_throughput_is_used_only_if_no_rate_is_given():
    used = trace_of(HISTORY)
    assert [used.row_at(second + 0.5).down_bit_s for second in range(1, 5)] == [3000, 4000, 5000, 6000]
    assert [used.row_at(second + 0.5).up_bit_s for second in range(1, 5)] == [300, 400, 500, 600]
    assert any("down_bit_s is the throughput that was used" in note for note in used.header.notes)
    given = trace_of(HISTORY, rate_bit_s=100e6, up_bit_s=10e6)
    assert (given.row_at(3).down_bit_s, given.row_at(3).up_bit_s) == (100e6, 10e6)
    assert not any("throughput" in note for note in given.header.notes)


def test_a_second_without_traffic_is_no_outage():
    quiet = {**HISTORY, "popPingDropRate": [0] * 5, "downlinkThroughputBps": [5000, 0, 0, 3000, 4000]}
    trace = trace_of(quiet)
    assert trace.contacts() == [Contact(0, 5)]
    assert trace.row_at(4.5).down_bit_s == 5000


def test_names_of_the_protocol_and_missing_values():
    plain = {re.sub("([A-Z])", r"_\1", key).lower(): value for key, value in HISTORY.items()}
    assert trace_of(plain, "dish_get_history") == trace_of(HISTORY)
    assert trace_of(plain, None) == trace_of(HISTORY)
    assert trace_of({**HISTORY, "popPingLatencyMs": [50, 60, None, 30, 40]}) == trace_of(HISTORY)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"current": 0}, "expected current, the number of samples, from 1; found 0"),
        ({"current": None}, "expected current"),
        ({"popPingLatencyMs": [1, 2]}, "buffers of one length"),
        ({"popPingLatencyMs": None}, "expected pop_ping_latency_ms"),
        ({"popPingDropRate": [0, 0, "x", 0, 0]}, "expected numbers from 0 for pop_ping_drop_rate"),
        ({"popPingDropRate": [0, 0, 50, 0, 0]}, "expected pop_ping_drop_rate from 0 to 1; found 50"),
        ({"popPingDropRate": [0, 0, -1, 0, 0]}, "expected numbers from 0 for pop_ping_drop_rate"),
    ],
)
def test_what_is_no_history_is_refused(change, expected):
    with pytest.raises(TraceError, match=expected):
        trace_of({**HISTORY, **change})
