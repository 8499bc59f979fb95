"""Compute time of each step on this machine, as medians that are measured separately.

The replay does not use the times of single outcomes, because these may have been computed on another device,
next to other jobs, or long ago. A profile (nodes/profiles/profile.py) replaces this machine's times by those
of another one, such as a board.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields, replace
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

REPEATS, FEW_REPEATS = 7, 3  # frames to measure; the latter for FEW_PAIRS or less, whose figures are as rough
FEW_PAIRS = 16
ANSWER_TOKENS = 8  # after the first, of an answer at a profile's pace


@dataclass(frozen=True)
class ComputeTimes:
    """Time of each step for one frame, in seconds.

    Attributes:
        see_s: Opening the image, preprocessing and vision tower, up to stage 0.
        read_s: Reading the prompt, up to the first token (stage 1).
        token_s: Each further token, including the one that ends the answer.
        attend_s: Attention of the prompt to each region.
        pack_s: Packing regions of a frame that is open already.
        reduce_s: Opening a frame and reducing it.
        whole_s: The regular model's answer to a whole frame, including the reading of the message.
        reduced_s: The same for a reduced frame.
        regions_s: The same for regions.
        reporting_s: The ground station's time to report one on-board answer.
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
    reporting_s: float

    @classmethod
    def of_profile(cls, profile: Profile, measure_here: Callable[[], ComputeTimes]) -> ComputeTimes:
        """Return the times of another machine.

        Args:
            profile: Times of that machine. A satellite's profile usually lacks the ground's times.
            measure_here: Measures the times of this machine; called if the profile lacks any.
        """
        known = {
            "see_s": profile.seen_s,
            "read_s": profile.stage_s("prefill"),
            "token_s": profile.stage_s("decode"),
        }
        for name in ("attend", "pack", "reduce", "whole", "reduced", "regions"):
            if name in profile.stages:
                known[f"{name}_s"] = profile.stage_s(name)
        if "pass_on" in profile.stages:
            known["reporting_s"] = profile.stage_s("pass_on")
        if len(known) == len(fields(cls)):
            return cls(**known)
        return replace(measure_here(), **known)

    def on_ground(self, profile: Profile) -> ComputeTimes:
        """Return the times with a ground machine's answers.

        A profile without times of whole messages gives that of an answer of `ANSWER_TOKENS` tokens, whatever
        the message: a model of this kind sees a fixed number of image tokens.
        """
        answer_s = profile.answer_s(ANSWER_TOKENS)
        known = {
            f"{name}_s": profile.stage_s(name) if name in profile.stages else answer_s
            for name in ("whole", "reduced", "regions")
        }
        return replace(self, **known)

    @classmethod
    def stored_names(cls) -> list[str]:
        """Return the names of the fields in caches, which keep the first name of `reporting_s`."""
        return ["pass_on_s" if field.name == "reporting_s" else field.name for field in fields(cls)]

    @classmethod
    def from_stored(cls, values: Mapping[str, float]) -> ComputeTimes:
        """Return the times that `to_stored` was called on."""
        return cls(*(values[name] for name in cls.stored_names()))

    def to_stored(self) -> dict[str, float]:
        """Return the times as a cache stores them."""
        return dict(zip(self.stored_names(), astuple(self), strict=True))

    def ground_s(self, decision: Decision) -> float:
        """Return the regular model's time for a decision."""
        if isinstance(decision, SendRegions):
            return self.regions_s
        return self.reduced_s if isinstance(decision, SendReduced) else self.whole_s

    def prepare_s(self, decision: Decision) -> float:
        """Return the satellite's time to make the message of a decision."""
        if isinstance(decision, SendRegions):
            return self.pack_s
        return self.reduce_s if isinstance(decision, SendReduced) else 0.0


def measure_compute_times(
    outcomes: Outcomes,
    pairs: Sequence[Pair],
    folder: Path,
    tick: Callable[[], None] = lambda: None,
    *,
    repeats: int = REPEATS,
) -> ComputeTimes:
    """Measure the times of this machine.

    Args:
        outcomes: The models.
        pairs: Pairs to measure on.
        folder: Folder on the disk that stands for a ground station's.
        tick: Called after each frame.
        repeats: Number of frames to measure, after one to warm up.
    """
    measured: dict[str, list[float]] = {field.name: [] for field in fields(ComputeTimes)}
    for number, pair in enumerate(_spread(pairs, repeats + 1)):
        samples = _on_board(outcomes, pair) | _messages(outcomes, pair)
        samples["reporting_s"] = measure_reporting_s(folder)
        if number:
            for name, values in measured.items():
                values.append(samples[name])
        tick()
    return ComputeTimes(**{name: median(values) for name, values in measured.items()})


def _on_board(outcomes: Outcomes, pair: Pair) -> dict[str, float]:
    """Measure one frame on the satellite, stage by stage."""
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
    """Measure the making of each decision's message, and the regular model's answer to it."""
    grid = outcomes.layout.rows * outcomes.layout.columns
    scores = [1.0 + 1.0 / (1 + index) for index in range(grid)]
    samples: dict[str, float] = {}
    third = SendRegions(pair.image.stat().st_size // 3)
    decisions: list[Decision] = [SendWhole(), SendReduced(2), third]
    for decision in decisions:
        watch = _Watch()
        open_image(pair.image)
        open_s = watch.lap_s()
        message = message_of(pair, decision, scores, outcomes.layout)  # opens the image again
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
    """Stopwatch for consecutive steps."""

    def __init__(self) -> None:
        self._at_s = time.perf_counter()

    def lap_s(self) -> float:
        """Return the time since the last call, or since the start."""
        now_s = time.perf_counter()
        lap_s, self._at_s = now_s - self._at_s, now_s
        return lap_s


def _spread(pairs: Sequence[Pair], count: int) -> list[Pair]:
    step = max(1, len(pairs) // count)
    chosen = list(pairs[::step])[:count]
    while len(chosen) < 2:
        chosen.append(chosen[-1])
    return chosen
