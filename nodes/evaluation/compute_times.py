"""What each step costs on this machine: medians, measured apart from everything else.

The replay uses these and not the seconds of each single outcome: outcomes may be computed on another device,
beside other jobs, or long ago. A file in the same form stands for another machine, such as a board.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import median

from nodes.evaluation.outcomes import Outcomes, sent_images
from nodes.evaluation.pairs import Pair
from nodes.policies import Decision, SendReduced, SendRegions, SendWhole


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
    def from_json(cls, path: Path) -> ComputeTimes:
        """Read a file; raises ValueError (one line) for one that does not hold the fields."""
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            times = cls(**{name.name: float(values[name.name]) for name in fields(cls)})
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{path} holds no compute times: {type(error).__name__}: {error}") from error
        if min(asdict(times).values()) < 0:
            raise ValueError(f"{path}: a compute time is negative")
        return times

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
