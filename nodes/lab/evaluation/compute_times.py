"""What each step costs on this machine: medians, measured apart from everything else.

The replay uses these and not the seconds of each single outcome: outcomes may be computed on another device,
beside other jobs, or long ago. A profile stands for another machine, such as a board
(nodes/profiles/profile.py).
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from statistics import median

from nodes.data.pairs import Pair
from nodes.lab.evaluation.outcomes import Outcomes, message_of
from nodes.lab.evaluation.reporting_time import measure_reporting_s
from nodes.onboard.confidence import END
from nodes.onboard.message import answer_received
from nodes.onboard.stages import StagedAnswer
from nodes.policies import Decision, SendReduced, SendRegions, SendWhole
from nodes.profiles.profile import Profile
from nodes.vlm.image import open_image


@dataclass(frozen=True)
class ComputeTimes:
    """Seconds of each step, one frame at a time.

    see_s: opening the image, preprocessing and vision tower, up to stage 0. read_s: the prompt, up to the
    first token (stage 1). token_s: each further token, the one that ends the answer included. attend_s: where
    the prompt looks, region by region. pack_s, reduce_s: making a message of regions from a frame that is
    open, or a smaller frame from one that is not. whole_s, reduced_s, regions_s: the regular model on what
    came down, which it has to read first. pass_on_s: the ground station's time for one on-board answer.
    """

    see_s: float
    read_s: float
    token_s: float
    attend_s: float
    pack_s: float
    reduce_s: float
    whole_s: float
    reduced_s: float
    regions_s: float
    pass_on_s: float

    @classmethod
    def of_profile(cls, profile: Profile, here: Callable[[], ComputeTimes]) -> ComputeTimes:
        """Another machine's times; what its profile does not hold is measured `here`.

        A satellite's profile holds no answers of the regular model, which is the ground's.
        """
        known = {
            "see_s": profile.seen_s,
            "read_s": profile.stage_s("prefill"),
            "token_s": profile.stage_s("decode"),
        }
        for name in ("attend", "pack", "reduce", "whole", "reduced", "regions", "pass_on"):
            if name in profile.stages:
                known[f"{name}_s"] = profile.stage_s(name)
        if len(known) == len(fields(cls)):
            return cls(**known)
        return replace(here(), **known)

    def ground_s(self, decision: Decision) -> float:
        """The regular model's time after a decision."""
        if isinstance(decision, SendRegions):
            return self.regions_s
        return self.reduced_s if isinstance(decision, SendReduced) else self.whole_s

    def prepare_s(self, decision: Decision) -> float:
        """The satellite's time to make what it sends."""
        if isinstance(decision, SendRegions):
            return self.pack_s
        return self.reduce_s if isinstance(decision, SendReduced) else 0.0


def measure(
    outcomes: Outcomes,
    pairs: Sequence[Pair],
    folder: Path,
    tick: Callable[[], None] = lambda: None,
    *,
    repeats: int = 7,
) -> ComputeTimes:
    """Measure on `repeats` frames of `pairs`, after one that warms up; a station's disk is `folder`'s."""
    seen: dict[str, list[float]] = {field.name: [] for field in fields(ComputeTimes)}
    for number, pair in enumerate(_spread(pairs, repeats + 1)):
        samples = _on_board(outcomes, pair) | _messages(outcomes, pair)
        samples["pass_on_s"] = measure_reporting_s(folder)
        if number:
            for name, values in seen.items():
                values.append(samples[name])
        tick()
    return ComputeTimes(**{name: median(values) for name, values in seen.items()})


def _on_board(outcomes: Outcomes, pair: Pair) -> dict[str, float]:
    """One frame on the satellite, stage by stage."""
    watch = _Watch()
    with StagedAnswer(outcomes.compact, open_image(pair.image), pair.prompt, outcomes.layout, 8) as staged:
        staged.advance()
        see_s = watch.lap_s()
        stage = staged.advance()
        read_s = watch.lap_s()
        while stage.stage != END:
            stage = staged.advance()
        decode_s = watch.lap_s()
        staged.attention()
        attend_s = watch.lap_s()
    token_s = decode_s / max(1, len(stage.logprobs))
    return {"see_s": see_s, "read_s": read_s, "token_s": token_s, "attend_s": attend_s}


def _messages(outcomes: Outcomes, pair: Pair) -> dict[str, float]:
    """What is made on the satellite for each decision, and the regular model's work on it."""
    grid = outcomes.layout.rows * outcomes.layout.columns
    scores = [1.0 + 1.0 / (1 + index) for index in range(grid)]
    samples: dict[str, float] = {}
    third = SendRegions(pair.image.stat().st_size // 3)
    decisions: list[Decision] = [SendWhole(), SendReduced(2), third]
    for decision in decisions:
        watch = _Watch()
        open_image(pair.image)
        open_s = watch.lap_s()
        message = message_of(pair, decision, scores, outcomes.layout)  # opens it again
        made_s = watch.lap_s()
        source = io.BytesIO(pair.image.read_bytes() if message.data is None else message.data)
        watch.lap_s()
        answer_received(outcomes.regular, message.form, source, pair.prompt, 8)
        samples[f"{message.form}_s"] = watch.lap_s()
        if message.form == "reduced":
            samples["reduce_s"] = made_s
        elif message.form == "regions":
            samples["pack_s"] = max(0.0, made_s - open_s)
    return samples


class _Watch:
    """Gives the seconds since it was last asked."""

    def __init__(self) -> None:
        self._at_s = time.perf_counter()

    def lap_s(self) -> float:
        now_s = time.perf_counter()
        lap_s, self._at_s = now_s - self._at_s, now_s
        return lap_s


def _spread(pairs: Sequence[Pair], count: int) -> list[Pair]:
    step = max(1, len(pairs) // count)
    chosen = list(pairs[::step])[:count]
    while len(chosen) < 2:
        chosen.append(chosen[-1])
    return chosen
