"""The event model of an evaluation against emulated runs, where queues and the ends of contacts decide.

Two satellites share a ground station. Each has more to send than its first contact carries, which ends in the
middle of an image; the rest comes down in the second one. Two frames have several prompts, which share what
is sent of them. In the same run a third satellite has one contact, which ends in the middle of a message of
regions: the station's patience ends, and it answers from the part that has come.

`DRAWS=20` adds as many cases drawn at random, `SEED` draws others. A case is drawn again if the model itself
says something else when contacts end EDGE_S sooner or later: then chance decides whether an image is through.
"""

from __future__ import annotations

import json
import os
import random
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import pytest

from nodes.data import EO_MINI
from nodes.data.pairs import Pair, read_pairs
from nodes.lab.evaluation.compute_times import ComputeTimes
from nodes.lab.evaluation.evaluated_pairs import EvaluatedPair
from nodes.lab.evaluation.event_model.replay import Flight, ReplayedPair, replay_fleet
from nodes.lab.evaluation.outcomes import Outcomes
from nodes.models import COMPACT
from nodes.onboard.judge import Judge
from nodes.onboard.link_forecast import ForecastRow, LinkForecast
from nodes.policies import policy_named
from nodes.profiles.profile import Profile
from testbed import Frame, GroundStation, Link, Satellite, Scenario, run_scenario
from testbed.results.latency import FrameResult
from tests.support.kept_models import answers_folder
from tests.support.starved import unless_starved

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("models_of_all_runs")]

LATENCY, BYTES = 0.05, 0.02  # relative bounds
DELAY_S = 0.005
EDGE_S = 0.1
KEPT = "How much of this image is cloudy?"  # answered on board
ALONE, TOGETHER = ("ships", "clouds", "presence"), ("rows", "crowns", "ships")
POLICY = f"""
from nodes.policies import Accept, SendReduced, SendRegions, SendWhole

class Policy:
    def decide(self, situation):
        if situation.prompt == {KEPT!r}:
            return Accept()
        if "rows" in situation.prompt or "crowns" in situation.prompt:
            return SendRegions(situation.whole_bytes // 4)
        return SendWhole() if "ships" in situation.prompt else SendReduced(2)
"""
STAGES = {"preprocess": 0.02, "vision": 0.1, "prefill": 0.05, "decode": 0.01, "reduce": 0.03, "attend": 0.1}
STAGES |= {"pack": 0.04, "whole": 0.18, "reduced": 0.18, "regions": 0.18, "pass_on": 0.004}
HEADER = """# spaceverse-trace 2
# satellite: {satellite}
# station: G
# start_utc: 2018-01-20T00:00:00Z
# end_s: {end_s}
# made_by: a test
time_s,up,down_bit_s,up_bit_s,down_delay_s,up_delay_s,down_loss,up_loss
"""


@dataclass(frozen=True)
class Sky:
    """One satellite's contacts as (AOS, LOS), its rate, and its capture times, one for each prompt."""

    contacts: tuple[tuple[float, float], ...]
    rate_bit_s: float
    captures_s: tuple[float, ...]


BACKLOG = (
    Sky(((0.5, 2.7), (3.8, 6.8)), 6e5, (0.0, 0.1, 0.2, 0.3, 0.4)),
    Sky(((0.6, 2.5), (3.7, 6.8)), 8e5, (0.0, 0.1, 0.1, 0.1, 0.2, 0.3, 0.3)),
)


CUT = Sky(((0.6, 2.6),), 6e4, (0.0,))  # for 15 kB of 19 kB, of which the overview is half
PATIENCE_S = 2.0  # longer than the pauses between the contacts of the others


def drawn(rng: random.Random) -> tuple[Sky, ...]:
    """Draw one to three satellites whose first contacts are too short for what was captured before."""
    skies = []
    for _ in range(rng.randint(1, 3)):
        aos_s = rng.uniform(0.3, 1.5)
        los_s = aos_s + rng.uniform(0.4, 1.5)
        again_s = los_s + rng.uniform(0.5, 2.0)
        moments_s = sorted(rng.uniform(0.0, los_s) for _ in range(rng.randint(2, 4)))
        captures_s = [time_s for time_s in moments_s for _ in range(rng.choice((1, 1, 2, 3)))]
        skies.append(
            Sky(((aos_s, los_s), (again_s, again_s + 6.0)), rng.uniform(0.8e6, 3e6), tuple(captures_s))
        )
    return tuple(skies)


def moved(skies: tuple[Sky, ...], by_s: float) -> tuple[Sky, ...]:
    """Return the same with other ends of the first contacts."""
    return tuple(
        replace(sky, contacts=((aos_s, los_s + by_s), *rest))
        for sky, ((aos_s, los_s), *rest) in ((sky, sky.contacts) for sky in skies)
    )


def decided(policy: Path, folder: Path, number: int) -> tuple[Sky, ...]:
    """Draw a case whose outcome does not hang on some milliseconds."""
    rng = random.Random(f"{os.environ.get('SEED', '0')} {number}")  # noqa: S311 - draws a case
    while True:
        skies = drawn(rng)
        pairs = questions(skies)
        plays = [model(moved(skies, by_s), pairs, policy, folder).values() for by_s in (-EDGE_S, EDGE_S)]
        sent = [sum(row.bytes_down for row in rows) for rows in plays]
        latency_s = [sum(latency_of(row) for row in rows) for rows in plays]
        if max(sent) < (1 + BYTES / 2) * min(sent) and max(latency_s) < (1 + LATENCY / 2) * min(latency_s):
            return skies


def latency_of(row: ReplayedPair) -> float:
    return (row.answered_s or 0.0) - row.capture_s


@pytest.mark.parametrize("number", range(1 + int(os.environ.get("DRAWS", "0"))))
def test_a_backlog_comes_down_as_the_event_model_says(number: int, tmp_path: Path) -> None:
    policy = tmp_path / "mine.py"
    policy.write_text(POLICY)
    skies = BACKLOG if number == 0 else decided(policy, tmp_path, number)
    pairs = questions(skies)
    modelled = model(skies, pairs, policy, tmp_path)
    cut = [row for row in modelled.values() if row.latency is not None and row.latency.contact_wait_s > 1.0]
    assert skies is not BACKLOG or len(cut) >= 2

    def play() -> Compared:
        if number:
            return compared(emulate(skies, pairs, policy, tmp_path), modelled)
        asked = next(one for one in read_pairs(EO_MINI) if one.kind == "rows" and one not in pairs)
        emulated = emulate((*skies, CUT), [*pairs, asked], policy, tmp_path)
        check_cut(emulated.pop(asked.name), asked)
        return compared(emulated, modelled)

    played = unless_starved(play, lambda found: found.latency < LATENCY and found.bytes < BYTES)
    assert played.differ == []


def check_cut(frame: FrameResult, pair: Pair) -> None:
    """Check that a message that its only contact cut off was answered from its first pieces."""
    decision = frame.decision
    assert decision is not None and decision.regions is not None and decision.message_bytes is not None
    ((aos_s, los_s),) = CUT.contacts
    assert (los_s - aos_s) * CUT.rate_bit_s / 8 < decision.message_bytes < pair.image.stat().st_size / 4
    assert 0 < frame.bytes_sent < decision.message_bytes
    assert frame.answered and frame.answered_by == "ground", frame.reached
    assert los_s < frame.capture_s + (frame.end_to_end_s or 0.0) < los_s + PATIENCE_S + 2.0


@dataclass(frozen=True)
class Compared:
    """Relative differences of model and run in sums over all frames, and frames answered otherwise.

    Latencies in seconds and bytes by frame are of the run, then of the model.
    """

    latency: float
    bytes: float
    differ: list[str]
    latencies_s: dict[str, tuple[float | None, float | None]]
    bytes_by_frame: dict[str, tuple[int, int]]


def compared(emulated: dict[str, FrameResult], modelled: dict[str, ReplayedPair]) -> Compared:
    assert emulated.keys() == modelled.keys()
    latencies_s = {name: (frame.end_to_end_s, latency_of(modelled[name])) for name, frame in emulated.items()}
    sent, sent_modelled = (
        sum(frame.bytes_sent for frame in emulated.values()),
        sum(row.bytes_down for row in modelled.values()),
    )
    measured_s, modelled_s = (sum(one[side] or 0.0 for one in latencies_s.values()) for side in (0, 1))
    return Compared(
        latency=abs(modelled_s / measured_s - 1),
        bytes=abs(sent_modelled / sent - 1),
        differ=[
            name
            for name, frame in emulated.items()
            if (frame.answer, frame.answered_by) != (modelled[name].answer, modelled[name].answered_by)
        ],
        latencies_s=latencies_s,
        bytes_by_frame={
            name: (frame.bytes_sent, modelled[name].bytes_down) for name, frame in emulated.items()
        },
    )


def questions(skies: tuple[Sky, ...]) -> list[Pair]:
    """Return a question for each capture: about different frames, or several about one that has them."""
    by_frame: dict[str, dict[str, Pair]] = {}
    for pair in read_pairs(EO_MINI):
        by_frame.setdefault(pair.frame, {})[pair.kind] = pair
    wanted = iter([asked for asked in by_frame.values() if {*ALONE, *TOGETHER} <= set(asked)])
    found: list[Pair] = []
    for sky in skies:
        for number, (_, repeats) in enumerate(groupby(sky.captures_s)):
            asked, count = next(wanted), len(list(repeats))
            kinds = (ALONE[number % 3],) if count == 1 else TOGETHER[:count]
            found += [asked[kind] for kind in kinds]
    return found


def dealt(skies: tuple[Sky, ...], pairs: list[Pair]) -> list[list[tuple[float, Pair]]]:
    rest = iter(pairs)
    return [[(time_s, next(rest)) for time_s in sky.captures_s] for sky in skies]


def profile(folder: Path) -> Path:
    stages = {name: {"p50_s": time_s, "p95_s": time_s, "count": 1} for name, time_s in STAGES.items()}
    made = {"name": "made-up", "model": "any", "parameters": 1, "stages": stages}
    (folder / "profile.json").write_text(json.dumps(made))
    return folder / "profile.json"


def model(skies: tuple[Sky, ...], pairs: list[Pair], policy: Path, folder: Path) -> dict[str, ReplayedPair]:
    """Return what the event model says of each pair; the compact model answers on the ground as well."""
    outcomes = Outcomes(str(COMPACT), str(COMPACT), folder / "cache")
    made = Profile.model_validate_json(profile(folder).read_text())
    times = ComputeTimes.of_profile(made, lambda: pytest.fail("the profile has all times"))
    flights = [
        Flight(
            [(time_s, EvaluatedPair(pair, outcomes, times, Judge())) for time_s, pair in captures],
            LinkForecast(rows_of(sky), end_s(sky)),
            f"s{number}",
        )
        for number, (sky, captures) in enumerate(zip(skies, dealt(skies, pairs), strict=True))
    ]
    replayed = replay_fleet(policy_named(str(policy)), flights, reporting_s=times.reporting_s)
    return {row.pair: row for rows in replayed for row in rows}


def rows_of(sky: Sky) -> list[ForecastRow]:
    rows = [ForecastRow(0.0, False, 0.0)]
    for aos_s, los_s in sky.contacts:
        rows += [ForecastRow(aos_s, True, sky.rate_bit_s, DELAY_S, DELAY_S), ForecastRow(los_s, False, 0.0)]
    return rows


def end_s(sky: Sky) -> float:
    return sky.contacts[-1][1] + 0.5


def emulate(skies: tuple[Sky, ...], pairs: list[Pair], policy: Path, folder: Path) -> dict[str, FrameResult]:
    """Return what a run with real programs over emulated links makes of each pair."""
    satellites, links = [], []
    for number, (sky, captures) in enumerate(zip(skies, dealt(skies, pairs), strict=True)):
        trace = folder / f"s{number}.csv"
        lines = [
            f"{row.time_s},{int(row.up)},{row.down_bit_s},{1e6 * row.up},"
            f"{row.down_delay_s},{row.up_delay_s},0.0,0.0\n"
            for row in rows_of(sky)
        ]
        trace.write_text(HEADER.format(satellite=f"s{number}", end_s=end_s(sky)) + "".join(lines))
        frames = tuple(
            Frame(frame=pair.name, image=pair.image, prompt=pair.prompt, truth=pair.truth, capture_s=time_s)
            for time_s, pair in captures
        )
        satellites.append(
            Satellite(
                name=f"s{number}",
                model=str(COMPACT),
                policy=str(policy),
                profile=profile(folder),
                frames=frames,
            )
        )
        links.append(Link(satellite=f"s{number}", station="G", follows=trace))
    scenario = Scenario(
        name="backlog",
        satellites=tuple(satellites),
        stations=(
            GroundStation(
                name="G",
                model=str(COMPACT),
                profile=profile(folder),
                patience_s=PATIENCE_S if CUT in skies else None,
            ),
        ),
        links=tuple(links),
        probe=False,
        answers=answers_folder(),
    )
    results = run_scenario(scenario, folder / "runs").results
    assert results is not None
    return {frame.frame: frame for frame in results.frames}
