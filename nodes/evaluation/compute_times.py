"""What each step costs on this machine: medians, measured apart from everything else.

The replay uses these and not the seconds of each single outcome: outcomes may be computed on another device,
beside other jobs, or long ago. A profile stands for another machine, such as a board
(nodes/stage_profile.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from statistics import median

from nodes.evaluation.outcomes import Outcomes, sent_images
from nodes.evaluation.pairs import Pair
from nodes.policies import Decision, SendReduced, SendRegions, SendWhole
from nodes.stage_profile import Profile


@dataclass(frozen=True)
class ComputeTimes:
    """Seconds of each step, one frame at a time.

    see_s: preprocessing and vision tower, up to stage 0. read_s: the prompt, up to the first token (stage 1).
    token_s: each further token, the one that ends the answer included. pack_s, reduce_s: making a message of
    regions, or a smaller frame. whole_s, reduced_s, regions_s: the regular model on what came down.
    """

    see_s: float
    read_s: float
    token_s: float
    pack_s: float
    reduce_s: float
    whole_s: float
    reduced_s: float
    regions_s: float

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
        for name in ("pack", "reduce", "whole", "reduced", "regions"):
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
    outcomes: Outcomes, pairs: Sequence[Pair], tick: Callable[[], None] = lambda: None, *, repeats: int = 7
) -> ComputeTimes:
    """Measure on the first `repeats` frames of `pairs`, after one that warms up."""
    compact, regular = outcomes.compact, outcomes.regular
    grid = outcomes.layout.rows * outcomes.layout.columns
    scores = [1.0 + 1.0 / (1 + index) for index in range(grid)]
    seen: dict[str, list[float]] = {field.name: [] for field in fields(ComputeTimes)}
    for number, pair in enumerate(_spread(pairs, repeats + 1)):
        samples: dict[str, float] = {}
        whole = pair.image.stat().st_size
        decisions: dict[str, Decision] = {
            "whole_s": SendWhole(),
            "reduced_s": SendReduced(2),
            "regions_s": SendRegions(whole // 3),
        }
        for name, decision in decisions.items():
            begin_s = time.perf_counter()
            _, images = sent_images(pair, decision, scores, outcomes.layout)
            samples[{"reduced_s": "reduce_s", "regions_s": "pack_s"}.get(name, "")] = (
                time.perf_counter() - begin_s
            )
            samples[name] = regular.answer(images, pair.prompt, max_new_tokens=8).timings.total_s
            if name == "whole_s":
                answer = compact.answer(images, pair.prompt, max_new_tokens=8)
        timings = answer.timings
        samples["see_s"] = timings.preprocess_s + timings.vision_s
        samples["read_s"] = timings.prefill_s
        samples["token_s"] = timings.decode_s / max(1, len(answer.token_ids))
        if number:
            for name, values in seen.items():
                values.append(samples[name])
        tick()
    return ComputeTimes(**{name: median(values) for name, values in seen.items()})


def _spread(pairs: Sequence[Pair], count: int) -> list[Pair]:
    step = max(1, len(pairs) // count)
    chosen = list(pairs[::step])[:count]
    while len(chosen) < 2:
        chosen.append(chosen[-1])
    return chosen
