"""The satellite's program and the event model do the same with a frame: decide, send, answer."""

from __future__ import annotations

import io
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from nodes.data import FIRST_LIGHT
from nodes.data.pairs import Pair, read_pairs
from nodes.errors import ConfidenceError, ModelError
from nodes.lab.evaluation.compute_times import ComputeTimes
from nodes.lab.evaluation.evaluated_pairs import EvaluatedPair
from nodes.lab.evaluation.outcomes import Outcomes
from nodes.models import COMPACT
from nodes.onboard.confidence import FILE, ConfidenceNetwork, train_head
from nodes.onboard.frame import OnboardFrame, warm_up
from nodes.onboard.judge import Judge
from nodes.onboard.link_forecast import ForecastRow, LinkForecast
from nodes.onboard.message import answer_received
from nodes.onboard.policy_inputs import surroundings
from nodes.policies import (
    POLICIES,
    Accept,
    Contact,
    Drop,
    Queue,
    SendReduced,
    SendRegions,
    SendWhole,
    decide_frame,
    flying_policy,
    policy_named,
)
from nodes.profiles.pace import Pace
from nodes.profiles.profile import Profile
from tests.support.made_up_profile import MADE_UP
from tests.support.nodes.ends import Recorder
from tests.support.starved import Starvation

PLENTY = Contact(left_s=300, left_bytes=1e9), Queue(captures_left=10)
TIMES = ComputeTimes(*([0.1] * 10))
MOST_TOKENS = 8


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """The compact model answers on the ground too: it takes a tenth of the regular one's time."""
    return Outcomes(str(COMPACT), str(COMPACT), tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def pairs() -> list[Pair]:
    return read_pairs(FIRST_LIGHT)[:6]


@pytest.fixture(scope="module")
def judge(outcomes: Outcomes, pairs: list[Pair], tmp_path_factory: pytest.TempPathFactory) -> Judge:
    """Trained on nothing that matters, but by file, as a satellite has it."""
    onboard = [outcomes.onboard(pair) for pair in pairs]
    hits = np.array([True, False] * 3)
    heads = {
        stage: train_head(np.array([one.features[stage] for one in onboard]), hits)
        for stage in onboard[0].features
    }
    folder = tmp_path_factory.mktemp("confidence")
    made = Judge(ConfidenceNetwork({"agreement": heads}, {}), "agreement", ((1, 0), (2, 1)), outcomes.layout)
    made.save(folder, {"compact": "compact"})
    return Judge.load(folder)


def test_a_judge_comes_back_as_it_was(judge: Judge, outcomes: Outcomes, pairs: list[Pair]) -> None:
    assert (judge.target, judge.heads, judge.layout) == ("agreement", ((1, 0), (2, 1)), outcomes.layout)
    attention = outcomes.onboard(pairs[0]).attention
    assert judge.scores(attention) == pytest.approx((attention[1, 0] + attention[2, 1]) / 2)
    assert Judge().scores(attention) == pytest.approx(attention.mean((0, 1)))


PLAYED: list[tuple[str, dict[str, object]]] = [
    *((name, {}) for name in POLICIES if name != "oracle"),
    ("ground-only-downsampled", {"reduction": 3}),
    ("two-threshold", {"drop_below": 0.9, "accept_confidence": 0.97}),
    ("spaceverse", {"offload_below_at_0": 0.99, "shares": [0.1, 0.3]}),
    ("spaceverse", {"offload_below_at_0": 0.0, "offload_below": 0.5, "accept_from": 0.51}),
]


def test_in_flight_a_frame_becomes_what_the_event_model_says(
    judge: Judge, outcomes: Outcomes, pairs: list[Pair]
) -> None:
    seen, answers = set(), {}
    for pair in pairs[1:4]:
        subject = EvaluatedPair(pair, outcomes, TIMES, judge)
        for name, parameters in PLAYED:
            modelled, reading = decide_frame(
                policy_named(name, parameters),
                subject.run(lambda _: None),
                pair.prompt,
                subject.whole_bytes,
                lambda: PLENTY,
            )
            with OnboardFrame(outcomes.compact, pair.image, pair.prompt, judge, MOST_TOKENS) as frame:
                flown = decide_frame(
                    flying_policy(name, parameters),
                    frame,
                    pair.prompt,
                    pair.image.stat().st_size,
                    lambda: PLENTY,
                )
                assert flown[0] == modelled
                assert asdict(flown[1]) == pytest.approx(asdict(reading)), name
                seen.add(type(modelled))
                if isinstance(modelled, Accept | Drop):
                    continue
                message = frame.message(modelled)
            sent = subject.sent(modelled)
            data = pair.image.read_bytes() if message.data is None else message.data
            assert len(data) == sent.size_bytes
            # As the ground's program does it.
            asked = message.form, data, pair.prompt
            if asked not in answers:
                answers[asked] = answer_received(
                    outcomes.regular, message.form, io.BytesIO(data), pair.prompt, MOST_TOKENS
                )
            assert answers[asked].text == sent.answer
    assert seen == {Accept, Drop, SendReduced, SendRegions, SendWhole}


def test_what_is_not_asked_for_is_not_computed(outcomes: Outcomes, pairs: list[Pair], judge: Judge) -> None:
    with OnboardFrame(outcomes.compact, Path("/nowhere.jpg"), "?", judge, MOST_TOKENS) as frame:
        assert frame.message(SendWhole()).data is None
        assert frame.answer() is None
    with OnboardFrame(outcomes.compact, pairs[0].image, pairs[0].prompt, judge, MOST_TOKENS) as frame:
        frame.advance()
        looked = frame.message(SendRegions(9000))
        answer = frame.answer()
        assert answer is not None
        assert answer.timings.vision_s > 0
        assert answer.timings.prefill_s == 0, "nothing was decoded"
        last = frame.finish()
        assert frame.message(SendRegions(9000)) == looked, "attention moved while tokens were decoded"
        stages = frame.stages_before(last)
        assert [one.stage for one in stages] == [0, 1] and stages[0].confidence is None
        regions = frame.regions(frame.message(SendRegions(30_000)))
        assert regions is not None and len(regions.relevance) == len(regions.reductions) == 16
        most = regions.relevance.index(max(regions.relevance))
        assert regions.reductions[most] == 1 and not all(regions.reductions)
        assert frame.regions(frame.message(SendWhole())) is None


def test_at_a_profiles_pace_a_frame_takes_as_long_as_the_event_model_says(
    judge: Judge, outcomes: Outcomes, pairs: list[Pair]
) -> None:
    """Also where it stops early; this machine is faster than the profile by far."""
    second = {"p50_s": 0.5, "p95_s": 0.5, "count": 1}
    stages = dict.fromkeys(("vision", "prefill", "attend", "pack"), second)
    nothing = second | {"p50_s": 0.0}
    profile = Profile.model_validate(
        MADE_UP | {"stages": {**stages, "preprocess": nothing, "decode": second, "reduce": nothing}}
    )
    times = ComputeTimes.of_profile(profile, lambda: TIMES)
    report = Recorder()
    pace = Pace(profile, report, MOST_TOKENS)
    subject = EvaluatedPair(pairs[1], outcomes, times, judge)
    for stages_done in range(3):
        asked_s: list[float] = []
        run = subject.run(asked_s.append)
        begin_s = time.monotonic()
        work = pace.begin(f"{stages_done}", begin_s)
        with (
            Starvation() as starvation,
            OnboardFrame(
                outcomes.compact, pairs[1].image, pairs[1].prompt, judge, MOST_TOKENS, work
            ) as frame,
        ):
            for _ in range(stages_done):
                run.advance()
                frame.advance()
            if stages_done == 1:
                frame.message(SendRegions(9000))
                asked_s += [times.attend_s, times.pack_s]
            took_s = time.monotonic() - begin_s
            answer = frame.answer()
        work.tell()
        assert took_s >= sum(asked_s)
        assert took_s < sum(asked_s) + 0.05 or starvation.starved
        if stages_done:
            (event,) = report.of("paced", frame=f"{stages_done}")
            assert event["profile_s"] == pytest.approx(sum(asked_s))
            assert answer is not None and answer.timings.vision_s == 0.5
            assert answer.timings.prefill_s == (0.5 if stages_done > 1 else 0.0)
    assert not report.of("paced", frame="0"), "the model was not asked"


def test_a_network_of_another_model_is_found_before_any_frame_comes(outcomes: Outcomes, judge: Judge) -> None:
    assert warm_up(outcomes.compact, judge) > 0
    narrow = train_head(np.random.default_rng(0).normal(size=(6, 20)), np.array([True, False] * 3))
    other = replace(judge, network=ConfidenceNetwork({"agreement": {0: narrow}}, {}))
    with pytest.raises(ModelError, match="features, but these heads expect 20") as caught:
        warm_up(outcomes.compact, other)
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_judge_is_one_line(judge: Judge, tmp_path: Path) -> None:
    with pytest.raises(ConfidenceError, match="holds no confidence network"):
        Judge.load(tmp_path)
    judge.save(tmp_path, {})
    text = (tmp_path / FILE).read_text()
    (tmp_path / FILE).write_text(text.replace('"layout"', '"lay-out"'))
    with pytest.raises(ConfidenceError, match=r"KeyError in confidence\.json"):
        Judge.load(tmp_path)


def line(aos_s: float, los_s: float, rate_bit_s: float) -> LinkForecast:
    rows = [
        ForecastRow(0.0, False, 0.0),
        ForecastRow(aos_s, True, rate_bit_s),
        ForecastRow(los_s, False, 0.0),
    ]
    return LinkForecast(rows, los_s + 10)


def test_surroundings_are_those_of_the_station_that_is_seen_next() -> None:
    first, second = line(10, 30, 8e6), line(20, 60, 8e3)
    captures_s = [1, 5, 12, 29, 45]

    def at(now_s: float) -> tuple[Contact, Queue]:
        return surroundings([first, second], now_s, 5, captures_s, (700, 2))

    assert at(6) == (Contact(4, 20, 20e6), Queue(700, 2, 2))
    assert at(25) == (Contact(0, 5, 5e6), Queue(700, 2, 2))  # both are seen: the preferred one
    assert at(50) == (Contact(0, 10, 10e3), Queue(700, 2, 3))
    assert at(65) == (Contact(float("inf"), 0, 0), Queue(700, 2, 0))
    assert surroundings([], 6, 5, captures_s, (0, 0)) == (Contact(), Queue(0, 0, 3))
