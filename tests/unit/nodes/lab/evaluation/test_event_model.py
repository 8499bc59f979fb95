"""The event model against cases worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.contract.latency import PARTS, Latency
from nodes.lab.evaluation.event_model.downlink import NOTICE_S, Downlink, Message, payload_sizes
from nodes.lab.evaluation.event_model.replay import Flight, ReplayedPair, Sent, replay, replay_fleet
from nodes.lab.evaluation.reporting_time import measure_reporting_s
from nodes.onboard.link_forecast import ForecastRow, LinkForecast
from nodes.policies import Accept, Decision, FramePolicy, OnboardRun, Reading, Situation, policy_named
from nodes.transfer.flow_control import chunk_size_bytes

DOWN_S, UP_S = 0.004, 0.006
OPEN_S = NOTICE_S + DOWN_S + UP_S


def line(
    *, rate_bit_s: float = 1e6, contacts: tuple[tuple[float, float], ...] = ((10.0, 60.0),)
) -> LinkForecast:
    rows = [ForecastRow(0.0, False, 0.0, 0.0, 0.0)]
    for aos_s, los_s in contacts:
        rows += [ForecastRow(aos_s, True, rate_bit_s, DOWN_S, UP_S), ForecastRow(los_s, False, 0.0, 0.0, 0.0)]
    return LinkForecast(rows, contacts[-1][1] + 5)


def wire_bytes(
    name: str, kind: str, size_bytes: int, rate_bit_s: float = 1e6, message: Message | None = None
) -> int:
    """Counted anew: payload, 6 + 24 bytes of MQTT, 66 of Ethernet, IP and TCP for each 1448."""
    total = 0
    chunk_bytes = chunk_size_bytes(rate_bit_s)
    for payload in payload_sizes(name, kind, size_bytes, chunk_bytes, message):  # type: ignore[arg-type]
        stream = payload + 6 + len("spaceverse/down/satellite")
        total += stream + 66 * -(-stream // 1448)
    return total


def test_a_line_integrates_its_rate_over_rows() -> None:
    rows = [
        ForecastRow(0, True, 8e3, 0.01, 0.01),
        ForecastRow(10, True, 16e3, 0.01, 0.01),
        ForecastRow(20, False, 0, 0, 0),
        ForecastRow(30, True, 8e3, 0, 0),
    ]
    of_two_rates = LinkForecast(rows, 40)
    assert of_two_rates.contacts == [(0, 20), (30, 40)]
    assert of_two_rates.bits_between(5, 15) == pytest.approx(5 * 8e3 + 5 * 16e3)
    assert of_two_rates.finish_s(5, 5_000 + 10_000) == pytest.approx(15)
    assert of_two_rates.finish_s(5, 25_000) == pytest.approx(20)
    assert of_two_rates.finish_s(5, 25_001) is None
    assert of_two_rates.finish_s(30, 10_000) == pytest.approx(40)
    assert of_two_rates.contact_after(20) == (30, 40)
    assert of_two_rates.contact_after(40) is None
    with pytest.raises(ValueError, match="no contact"):
        of_two_rates.finish_s(25, 1)
    with pytest.raises(ValueError, match="sorted by time"):
        LinkForecast([rows[1], rows[0]], 40)


def test_what_waits_for_a_contact_begins_with_its_connection() -> None:
    downlink = Downlink(line(), 1e6)
    item = downlink.add("f", "image", 50_000, 2.0)
    downlink.advance(60)
    assert item.first_s == pytest.approx(10 + OPEN_S)
    assert item.received_s == pytest.approx(10 + OPEN_S + wire_bytes("f", "image", 50_000) * 8 / 1e6 + DOWN_S)
    assert item.wait_before_s == pytest.approx(8 + OPEN_S)
    assert item.bytes_sent == sum(payload_sizes("f", "image", 50_000, chunk_size_bytes(1e6)))


def test_an_answer_overtakes_all_but_what_is_under_way() -> None:
    downlink = Downlink(line(), 1e6)
    image = downlink.add("f", "image", 2_000_000, 2.0)
    answer = downlink.add("g", "answer", 40, 20.0)
    downlink.advance(60)
    assert answer.received_s is not None
    assert image.received_s is not None
    chunk_s = 8 * 13_000 / 1e6
    assert 0.3 - chunk_s <= answer.received_s - 20 <= 0.3 + 2 * chunk_s
    both = wire_bytes("f", "image", 2_000_000) + wire_bytes("g", "answer", 40)
    assert image.received_s == pytest.approx(10 + OPEN_S + both * 8 / 1e6 + DOWN_S)


def test_a_chunk_cut_off_by_the_end_of_a_contact_is_sent_again() -> None:
    downlink = Downlink(line(contacts=((10, 11), (100, 160))), 1e6)
    item = downlink.add("f", "image", 200_000, 0.0)
    downlink.advance(160)
    payloads = payload_sizes("f", "image", 200_000, chunk_size_bytes(1e6))
    assert item.received_s is not None
    assert 100 < item.received_s < 102
    twice = 3 * payloads[1] + payloads[0]  # the chunk that is cut, two behind it in the line, the manifest
    assert item.bytes_sent == sum(payloads) + twice
    assert item.wait_s == pytest.approx(100 + OPEN_S - 11)


REGIONS = [(str(number), 5_000 + 100 * number) for number in range(6)]


def about_one_frame(*numbers: int) -> tuple[int, Message]:
    """Return size and message of some regions of a frame."""
    pieces = tuple(REGIONS[number] for number in numbers)
    return sum(size for _, size in pieces), Message("frame", pieces, pieces)


def test_a_second_message_of_a_frame_is_announced_and_sends_what_lacks() -> None:
    downlink = Downlink(line(), 1e6)
    (one_bytes, one), (other_bytes, other) = about_one_frame(0, 1, 2), about_one_frame(0, 2, 3, 4)
    first = downlink.add("a", "image", one_bytes, 20.0, message=one)
    second = downlink.add("b", "image", other_bytes, 20.0, message=other)
    announced, *chunks = second.payloads
    assert (first.own_bytes, second.own_bytes) == (sum(first.payloads[1:]), chunks[2] + chunks[3])
    alone = downlink.add("c", "image", 50_000, 20.0)
    downlink.advance(60)
    assert second.bytes_sent == announced + chunks[2] + chunks[3]
    assert first.bytes_sent == sum(first.payloads)
    assert alone.received_s is not None and second.received_s is not None and first.received_s is not None
    assert first.received_s < second.received_s < alone.received_s, "another frame is sent meanwhile"


def test_a_third_message_that_has_nothing_new_is_only_announced() -> None:
    downlink = Downlink(line(), 1e6)
    for name in "ab":
        downlink.add(name, "image", 50_000, 20.0, message=Message("frame", "whole"))
    downlink.advance(60)
    first, second = downlink.items
    assert second.bytes_sent == second.payloads[0]
    assert first.received_s is not None
    assert second.received_s == pytest.approx(
        first.received_s + (second.payloads[0] + 6 + 24 + 66) * 8 / 1e6, abs=1e-3
    )


def test_a_cut_in_the_second_message_costs_no_more_than_what_was_cut() -> None:
    downlink = Downlink(line(contacts=((10, 10.29), (100, 160))), 1e6)
    for name, numbers in (("a", (0, 1, 2)), ("b", (0, 3, 4, 5))):
        size_bytes, message = about_one_frame(*numbers)
        downlink.add(name, "image", size_bytes, 0.0, message=message)
    downlink.advance(160)
    first, second = downlink.items
    assert first.received_s is not None and first.received_s < 11
    assert second.received_s is not None and second.received_s > 100
    lacking_bytes = sum(size for _, size in REGIONS[3:])
    assert lacking_bytes < second.bytes_sent < lacking_bytes + 3 * REGIONS[5][1]


def test_nothing_comes_down_without_a_contact_left() -> None:
    downlink = Downlink(line(), 1e6)
    late = downlink.add("f", "image", 50_000, 61.0)
    huge = downlink.add("g", "image", 50_000, 62.0)
    downlink.advance(100)
    assert late.received_s is None
    assert huge.received_s is None
    assert downlink.waiting[1] == 2


@dataclass
class Made:
    """A pair with made-up outcomes: 1 s of vision, 0.5 s of prefill, 0.25 s for the rest."""

    name: str
    prompt: str = "how many?"
    whole_bytes: int = 100_000
    onboard_right: bool = False
    token_confidence: float = 0.5

    @property
    def frame(self) -> str:
        return self.name

    def run(self, spend: Callable[[float], None]) -> OnboardRun:
        made = self

        class Run:
            step = 0

            def advance(self) -> Reading:
                spend((1.0, 0.5, 0.25)[self.step])
                self.step += 1
                known = None if self.step == 1 else made.token_confidence
                return Reading(self.step - 1, self.step == 3, None, known, "two" if self.step > 1 else "")

            def finish(self) -> Reading:
                while True:
                    reading = self.advance()
                    if reading.finished:
                        return reading

        return Run()

    def attention_s(self, reading: Reading) -> float:
        return 0.5 if reading.stage < 1 else 0.0

    def right_on_board(self) -> bool:
        return self.onboard_right

    def sent(self, decision: Decision) -> Sent:
        size = getattr(decision, "budget_bytes", self.whole_bytes)
        return Sent(size, prepare_s=0.125, answer="three", right=True, ground_s=2.0)


def latency_of(row: ReplayedPair) -> Latency:
    assert row.latency is not None
    return row.latency


def play(policy: FramePolicy, *captures: tuple[float, Made], **options: object) -> list[ReplayedPair]:
    return replay(policy, captures, line(), **options)  # type: ignore[arg-type]


def test_on_board_the_frames_queue_for_one_computer() -> None:
    first, second = play(
        policy_named("satellite-only"), (20.0, Made("a", onboard_right=True)), (20.5, Made("b"))
    )
    air_s = wire_bytes("a", "answer", 40) * 8 / 1e6 + DOWN_S
    assert first.answered_s == pytest.approx(21.75 + air_s)
    assert second.answered_s == pytest.approx(23.5 + air_s)
    assert latency_of(second).queue_s == pytest.approx(1.25)
    assert latency_of(second).onboard_inference_s == first.onboard_inference_s == 1.75
    assert (first.right, second.right) == (True, False)
    assert (first.timely, second.timely) == (True, False)
    assert first.answered_by == "satellite"


def test_answers_that_come_together_are_told_one_after_the_other() -> None:
    frames = [(number * 2.0, Made(f"f{number}")) for number in range(4)]  # all before the contact
    at_once = play(policy_named("satellite-only"), *frames)
    told = play(policy_named("satellite-only"), *frames, reporting_s=0.5)
    for place, (one, other) in enumerate(zip(at_once, told, strict=True), start=1):
        assert latency_of(other).reporting_s == pytest.approx(0.5 * place, abs=0.02)
        assert (other.answered_s or 0) - (one.answered_s or 0) == pytest.approx(latency_of(other).reporting_s)
    (alone,) = play(policy_named("ground-only"), (20.0, Made("a")), reporting_s=0.5)
    assert latency_of(alone).reporting_s == 0


def test_passing_on_is_measured_on_a_disk_and_leaves_nothing(tmp_path: Path) -> None:
    assert 0 < measure_reporting_s(tmp_path) < 10
    assert list(tmp_path.iterdir()) == []


def test_on_the_ground_they_queue_again() -> None:
    rows = play(policy_named("ground-only"), (20.0, Made("a")), (20.0, Made("b")))
    message = Message("a", "whole", metadata={"prompt": "how many?", "form": "whole"})
    one_s = wire_bytes("a", "image", 100_000, message=message) * 8 / 1e6
    assert rows[0].answered_s == pytest.approx(20.125 + one_s + DOWN_S + 2)
    second_arrives_s = 20.125 + 2 * one_s + DOWN_S
    assert rows[1].answered_s == pytest.approx(max(second_arrives_s, rows[0].answered_s or 0) + 2)
    assert rows[1].onboard_inference_s == 0.125


def test_satellites_share_the_ground_but_not_their_links() -> None:
    flights = [Flight([(20.0, Made(name))], line(), name) for name in "ab"]
    (first,), (second,) = replay_fleet(policy_named("ground-only"), flights)
    assert first.received_s == second.received_s, "each has a link of its own"
    assert sorted((row.answered_s or 0) - (row.received_s or 0) for row in (first, second)) == pytest.approx(
        [2.0, 4.0]
    )
    two = replay_fleet(policy_named("ground-only"), flights, servers=2)
    assert [(row.answered_s or 0) - (row.received_s or 0) for (row,) in two] == pytest.approx([2.0, 2.0])


def test_offload_pays_for_what_it_computed() -> None:
    (after,) = play(policy_named("offload-after"), (20.0, Made("a")))
    assert after.onboard_inference_s == pytest.approx(1.75 + 0.125)
    early = policy_named("spaceverse", {"offload_below_at_0": 0.6, "shares": [0.5]})
    (at_zero,) = play(early, (20.0, Made("a")))
    assert at_zero.onboard_inference_s == pytest.approx(
        1.0 + 0.5 + 0.125
    )  # vision, prefill for the attention, packing
    assert (at_zero.decision, at_zero.stage, at_zero.answered_by) == ("SendRegions", 0, "ground")
    assert at_zero.bytes_down < after.bytes_down


def test_a_frame_without_time_left_is_late_and_a_dropped_one_wrong() -> None:
    (late,) = play(policy_named("ground-only"), (59.5, Made("a")))
    assert (late.answered_s, late.right, late.timely, late.latency) == (None, True, False, None)
    (slow,) = play(policy_named("ground-only"), (58.5, Made("a")))
    assert slow.answered_s is not None
    assert slow.answered_s > slow.pass_end_s == 60
    assert (slow.right, slow.timely) == (True, False)
    (dropped,) = play(
        policy_named("two-threshold", {"drop_below": 0.9, "accept_confidence": 0.95}), (20.0, Made("a"))
    )
    assert (dropped.answered_by, dropped.right, dropped.bytes_down, dropped.decision) == (
        None,
        False,
        0,
        "Drop",
    )
    (hurried,) = play(policy_named("ground-only"), (1.0, Made("a")), answer_within_s=5.0)
    assert (hurried.deadline_s, hurried.timely) == (6.0, False)


def test_the_policy_sees_the_link_as_it_is() -> None:
    seen: list[Situation] = []

    class Watching:
        def decide(self, situation: Situation) -> Decision:
            seen.append(situation)
            return Accept() if len(seen) > 1 else policy_named("ground-only").decide(situation)

    play(Watching(), (5.0, Made("a")), (20.0, Made("b")), (30.0, Made("c")))
    assert seen[0].contact.starts_in_s == pytest.approx(5.0)
    assert seen[0].contact.left_bytes == pytest.approx(50e6 / 8)
    assert [s.queue.captures_left for s in seen] == [2, 1, 0]
    assert seen[1].contact.left_s == pytest.approx(40)
    assert seen[1].queue.size_bytes == 0  # a came down before 20 s


def test_the_oracle_gets_its_foresight() -> None:
    (row,) = play(policy_named("oracle", {"shares": [0.1]}), (20.0, Made("a")), with_foresight=True)
    assert (row.decision, row.right) == ("SendRegions", True)


@given(
    st.lists(
        st.tuples(st.floats(0, 55), st.floats(0, 1), st.integers(100, 300_000)), min_size=1, max_size=12
    ),
    st.sampled_from(["spaceverse", "offload-after", "ground-only", "two-threshold", "satellite-only"]),
)
def test_the_parts_sum_to_the_whole(frames: list[tuple[float, float, int]], name: str) -> None:
    captures = [
        (capture_s, Made(f"f{number}", whole_bytes=size, token_confidence=confidence))
        for number, (capture_s, confidence, size) in enumerate(frames)
    ]
    for row in play(policy_named(name), *captures):
        if row.answered_s is not None:
            assert latency_of(row).total_s == pytest.approx(row.answered_s - row.capture_s)
            assert min(getattr(latency_of(row), part) for part in PARTS) >= -1e-9
            assert row.answered_s >= row.capture_s
