"""Parts of a frame's latency: they add up to the total and have the right limits."""

from datetime import datetime, timezone
from io import StringIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from nodes.contract.events import LinkChanged, Malformed, ReceivedFirst
from testbed.results.latency import FrameResult, disconnected, frame_latency, overlap_s, stamps_of, station_of
from testbed.results.link_time import LinkTime
from testbed.results.results import Results, busy_intervals, failure_of, lost_events, malformed_counts
from testbed.run.progress import TerminalProgress
from tests.support import records as make
from tests.support.records import record
from traces.trace import Trace, TraceHeader

SECONDS = st.floats(0, 100)


def link(rate_bit_s: float = 1e6, delay_s: float = 0.005) -> LinkTime:
    header, one = TraceHeader("S", "G", datetime(2018, 1, 20, tzinfo=timezone.utc), "a test"), np.ones(1)
    rates, delays = [one * rate_bit_s] * 2, [one * delay_s] * 2
    return LinkTime(Trace(header, one * 0, one > 0, one > 0, *rates, *delays, *[one * 0] * 2, 1000.0))


def test_a_frame_that_waits_for_contact_and_is_answered_on_the_ground() -> None:
    stamps = {
        "captured": 0.0,
        "onboard_start": 1.0,
        "onboard_end": 1.5,
        "sent": 20.0,
        "received": 22.0,
        "ground_start": 22.5,
        "ground_end": 23.0,
        "answered": 23.01,
    }
    latency = frame_latency(stamps, [(0.0, 19.0)], link(), 100_000)
    assert latency.queue_s == pytest.approx(
        1.0 + 1.0 + 0.5
    )  # on board; connected but not yet sent; on the ground
    assert latency.onboard_inference_s == pytest.approx(0.5)
    assert latency.contact_wait_s == pytest.approx(17.5)
    assert latency.propagation_s == pytest.approx(0.005)
    on_wire_bytes = 100_000 + 70 * 66  # 70 segments of 1448 bytes
    assert latency.serialisation_s == pytest.approx(on_wire_bytes * 8 / 1e6)
    assert latency.link_queue_s == pytest.approx(1.995 - on_wire_bytes * 8 / 1e6)
    assert latency.ground_inference_s == pytest.approx(0.5)
    assert latency.reporting_s == pytest.approx(0.01)


def test_a_gap_in_the_middle_of_a_transfer_is_waiting() -> None:
    stamps = {"captured": 0, "onboard_start": 0, "onboard_end": 1, "sent": 2, "received": 12, "answered": 12}
    latency = frame_latency(stamps, [(4, 9)], link(delay_s=0.01), 10_000_000)
    assert latency.contact_wait_s == pytest.approx(5)
    assert latency.serialisation_s == pytest.approx(4.99)
    assert latency.link_queue_s == pytest.approx(0)


def test_an_item_behind_others_waits_in_the_link_and_is_not_serialised_longer() -> None:
    """Six images of 12 s each whose manifests are sent at once: the last one waits for the others."""
    size_bytes = int(12 * 1e6 / 8 * 1448 / 1514)
    stamps = {"captured": 0, "onboard_start": 0, "onboard_end": 0, "sent": 0, "received": 72, "answered": 72}
    latency = frame_latency(stamps, [], link(), size_bytes)
    assert latency.serialisation_s == pytest.approx(12, abs=0.01)
    assert latency.link_queue_s == pytest.approx(60 - 0.005, abs=0.01)


def test_the_time_of_an_items_bytes_follows_the_rate_of_each_moment() -> None:
    header = TraceHeader("S", "G", datetime(2018, 1, 20, tzinfo=timezone.utc), "a test")
    rates, zero = np.array([1e6, 4e6]), np.zeros(2)
    trace = Trace(
        header,
        np.array([0.0, 10.0]),
        np.ones(2) > 0,
        np.ones(2) > 0,
        rates,
        rates,
        zero,
        zero,
        zero,
        zero,
        20.0,
    )
    wire_bits = 8 * 1514 * 500
    slow_bits = wire_bits - 4e6  # 1 s at the higher rate is not enough
    carried_s = LinkTime(trace, 100.0).serialisation_s(1448 * 500, 100.0, 111.0)
    assert carried_s == pytest.approx(1 + slow_bits / 1e6)
    down = LinkTime(link(0.001).trace, 100.0, (trace,))
    assert down.serialisation_s(1448 * 500, 100.0, 111.0) > 10


@given(
    steps=st.lists(SECONDS, min_size=7, max_size=7),
    edges=st.lists(SECONDS, max_size=6),
    ground=st.booleans(),
    size_bytes=st.integers(0, 10_000_000),
)
def test_the_parts_always_sum_to_the_whole(
    steps: list[float], edges: list[float], ground: bool, size_bytes: int
) -> None:
    names = ["captured", "onboard_start", "onboard_end", "sent", "received", "ground_start", "ground_end"]
    time_s, stamps = 0.0, {}
    for name, step in zip(names, steps, strict=True):
        time_s += step
        if ground or not name.startswith("ground"):
            stamps[name] = time_s
    stamps["answered"] = time_s + 0.5
    edges = sorted(edges)
    gaps = list(zip(edges[::2], edges[1::2], strict=False))
    latency = frame_latency(stamps, gaps, link(delay_s=0.004), size_bytes)
    whole_s = stamps["answered"] - stamps["captured"]
    assert latency.total_s == pytest.approx(whole_s, abs=1e-6)
    assert latency.link_queue_s >= -1e-9 and latency.serialisation_s >= -1e-9
    assert latency.contact_wait_s >= 0
    assert latency.queue_s >= -1e-9


def test_intervals_without_connection() -> None:
    records = [
        record("S", make.connected(), 10.0),
        record("S", make.contact("G", up=False), 30.0),
        record("S", make.disconnected(), 30.1),
        record("other", make.connected(), 40.0),
        record("S", make.connected(), 50.0),
    ]
    gaps = disconnected(records, "S", until_s=60.0)
    assert gaps == [(0.0, 10.0), (30.0, 50.0)]
    assert overlap_s(gaps, 5.0, 45.0) == pytest.approx(20.0)


def test_stamps_follow_the_item_that_carries_the_answer() -> None:
    records = [
        record("S", make.captured(), 1.0),
        record("S", make.started(), 2.0),
        record("S", make.finished(decision="offload"), 3.0),
        record("S", make.send_started(), 4.0),
        record("G", make.received(), 5.0),
        record("G", make.started(), 6.0),
        record("G", make.finished(), 7.0),
        record("G", make.answered(), 8.0),
        record("G", make.answered(), 9.0),
    ]
    assert list(stamps_of(records, "S").values()) == [1, 2, 3, 4, 5, 6, 7, 8]


def test_what_was_begun_again_counts_from_its_last_start() -> None:
    records = [
        record("G", make.started(), 6.0),
        record("G", make.failed(), 16.0),
        record("G", make.started(), 20.0),
        record("G", make.finished(), 21.0),
        record("G", make.started(), 22.0),
    ]
    assert stamps_of(records, "S") == {"ground_start": 20.0, "ground_end": 21.0}


def test_the_link_is_busy_from_the_first_byte_until_just_after_the_last() -> None:
    records = [record("S", make.send_started(), 1.0), record("G", make.received(), 2.0)]
    assert busy_intervals(records, "S") == [(1.0, 2.1)]


def test_right_is_what_the_rule_of_answers_says() -> None:
    def correct(answer: str | None) -> bool:
        nothing = dict.fromkeys(("answered_by", "confidence", "onboard_answer", "end_to_end_s", "latency"))
        return FrameResult(
            "f",
            "S",
            "?",
            "Yes",
            "",
            0.0,
            answer=answer,
            bytes_sent=0,
            also_right=("certainly",),
            **nothing,  # type: ignore[arg-type]
        ).correct

    assert correct(" yes.")
    assert correct("Yes, there is.")
    assert correct("Certainly")
    assert not correct("no")
    assert not correct(None)


def test_a_contact_that_ends_elsewhere_is_no_gap() -> None:
    changes = [
        (make.contact("G", up=True), 1),
        (make.connected("G"), 2),
        (make.contact("H", up=True), 3),
        (make.contact("H", up=False), 4),
        (make.contact("G", up=False), 5),
        (make.disconnected("G"), 5.1),
        (make.contact("H", up=True), 8),
        (make.connected("H"), 9),
    ]
    records = [record("S", event, at_s) for event, at_s in changes]
    assert disconnected(records, "S", 20) == [(0.0, 2), (5, 9)]


def test_a_frame_belongs_to_the_station_where_it_became_whole() -> None:
    records = [
        record("S", make.finished(decision="offload"), 1),
        record("G", ReceivedFirst(frame="f", what="image"), 2),
        record("H", make.received(), 3),
    ]
    assert station_of(records, "S") == "H"
    assert station_of(records[:2], "S") is None


def test_events_that_never_came_are_counted_and_repeats_are_not() -> None:
    numbers = [1, 2, 2, 5, 6, 1, 2, 4]  # 3 and 4 never came; the node was started again; its 3 never came
    assert lost_events([record("S", make.started(), sequence=n) for n in numbers]) == {"S": 3}


def test_an_event_that_was_refused_did_come() -> None:
    refused = Malformed(sender="spaceverse/event/s", count=3, reason="?", size_bytes=1)
    records = [record("S", make.started(), sequence=1), record("run", refused)]
    assert lost_events([*records, record("S", make.started(), sequence=7)]) == {"S": 2}
    assert lost_events([*records, record("S", make.started(), sequence=3)]) == {}
    other = record("run", refused.model_copy(update={"sender": "spaceverse/event/other"}))
    assert lost_events([records[0], other, record("S", make.started(), sequence=3)]) == {"S": 1}


def test_refusals_are_counted_by_who_refused_and_whom() -> None:
    rejected = [Malformed(sender="b", count=n, reason="not a payload") for n in (1, 7)]
    assert malformed_counts([record("G", event) for event in rejected]) == {"G, from b": 7}


def test_two_answers_that_differ_are_a_failure_and_a_repeat_is_none() -> None:
    first, again, other = (record("G", make.answered(text)) for text in ("two", "two", "three"))
    assert failure_of([first, again], "two") is None
    assert failure_of([first, again, other], "two") == (
        "it was answered twice, and differently: 'two', then 'three'"
    )


def test_a_frame_that_a_policy_dropped_is_not_missed() -> None:
    def frame(name: str, answer: str | None, dropped: bool) -> FrameResult:
        by = "satellite" if answer else None
        return FrameResult(
            name, "S", "?", "1", "", 0.0, answer, by, None, None, 0, None, None, dropped=dropped
        )

    answered, dropped, lost = frame("a", "1", False), frame("b", None, True), frame("c", None, False)
    done = Results("a test", "recording", (answered, dropped), (), 1e-3)
    assert (done.verdict.status, done.verdict.exit_code, done.verdict.causes) == ("passed", 0, ())
    assert done.verdict.headline == "PASSED: 1 of 2 frames answered, 1 dropped by the policy"
    assert done.warnings() == []
    assert (done.totals()["answered"], done.totals()["dropped"], done.totals()["correct"]) == (1, 1, 1)
    left = Results("a test", "recording", (answered, dropped, lost), (), 1e-3)
    assert (left.verdict.status, left.verdict.exit_code) == ("failed", 1)
    assert left.verdict.headline == "FAILED: 1 of 3 frames has no answer"
    assert [cause.frames for cause in left.verdict.causes] == [("c",)]


def test_what_a_policy_decided_is_told_as_it_happens() -> None:
    console = Console(width=200, record=True, file=StringIO())
    progress = TerminalProgress(console)
    unasked = {"answer": "", "confidence": None}
    for fields in (
        {"decision": "answer"},
        {"decision": "offload", "form": "regions", "answer": ""},
        {"decision": "offload", "form": "whole", **unasked},
        {"decision": "drop", **unasked},
    ):
        progress.event(record("S", make.finished(**fields), time_s=2.0))
    lines = [line.split("S: f ")[1] for line in console.export_text().strip().splitlines()]
    assert lines == [
        "'two', confidence 0.50: answers on board",
        "confidence 0.50: sends the image, regions",
        "sends the image, whole",
        "drops the frame",
    ]


def test_a_direction_that_goes_down_is_told_as_it_happens() -> None:
    console = Console(width=200, record=True, file=StringIO())
    progress = TerminalProgress(console)
    for up in ((True, True), (True, False), (False, True), (False, False)):
        event = LinkChanged(link="L", up=any(up), lateness_s=0.0, downlink_up=up[0], uplink_up=up[1])
        progress.event(record("run", event, time_s=2.0))
    lines = [line.split("link L is ")[1] for line in console.export_text().strip().splitlines()]
    assert lines == ["up", "up, its uplink is down", "up, its downlink is down", "down"]
