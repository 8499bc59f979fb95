"""Conditions that a trained pair must meet. A bound is a constant of the benchmark's design, never fitted.

Scores are item F1 for lists, and 1 or 0 for other answers. Where answers are right or wrong, a list is right
from an item F1 of 0.75 on. Intervals are 95 %, by frame.

What concerns the compact model's difficulty is measured on usable frames: useless ones are easy for it, and
would make any confidence look good.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nodes.contract.evaluation import published_profiles
from nodes.errors import ConfidenceError
from nodes.lab.eo_mini_2.compose import FRAME_LENGTHS_PX, FRAMES, draw_scenes
from nodes.lab.eo_mini_2.gates import Gate, auroc_text, percent
from nodes.lab.eo_mini_2.scene import Scene
from nodes.lab.eo_mini_2.trained.offload import at_random, by_confidence, by_kind, with_oracle
from nodes.lab.eo_mini_2.trained.outcomes import Outcomes, quarter
from nodes.lab.evaluation.figures import Floats, Interval, auroc_within, bootstrap, calibration_error
from nodes.onboard.confidence import choose_regularization, train_head
from nodes.profiles.profile import read_profile

Sample = Literal["val", "test"]
FURTHER = 200  # frames drawn like the validation split, none of which is in it
FURTHER_SEED = 99
ORIN = ("orin-nano-2b-w4a16", "orin-nx-2b-fp16", "agx-orin-2b-fp16")
LONG_TOKENS = 8
_RESAMPLES = 300
_CHANCE = {
    "count": 0.25,
    "compare": 0.5,
    "list": 0.5,
}  # a list whose shapes are guessed has half of its items
_USELESS_LEAST = 0.9
NOT_MEASURED = "not measured"


def fitting_scenes() -> list[Scene]:
    """Return the frames of the validation split, on which heads are trained."""
    return list(draw_scenes("val", FRAMES["val"]))


def measured_scenes(sample: Sample) -> list[Scene]:
    """Return the frames to measure on: further ones like the validation split, or the test split."""
    if sample == "test":
        return list(draw_scenes("test", FRAMES["test"]))
    return list(draw_scenes("val", FURTHER, FURTHER_SEED))


@dataclass(frozen=True)
class _Table:
    """Answers as columns."""

    frames: list[str]
    kinds: list[str]
    usable: NDArray[np.bool_]
    quarters: NDArray[np.intp]
    scores: Floats
    right: NDArray[np.bool_]
    confidence: Floats
    tokens: NDArray[np.intp]

    @classmethod
    def of(cls, outcomes: Outcomes) -> _Table:
        rows = outcomes.rows
        return cls(
            [row.frame for row in rows],
            [row.kind for row in rows],
            np.array([row.usable for row in rows]),
            np.array([quarter(row.length_px, FRAME_LENGTHS_PX) for row in rows]),
            np.array([row.score for row in rows]),
            np.array([row.right for row in rows]),
            np.array([row.confidence for row in rows]),
            np.array([len(row.logprobs) for row in rows]),
        )

    def of_kind(self, *kinds: str, usable: bool = False) -> NDArray[np.intp]:
        """Return the rows whose kind begins so; with `usable`, those about usable frames."""
        return np.flatnonzero(
            [
                one.startswith(kinds) and (can or not usable)
                for one, can in zip(self.kinds, self.usable, strict=True)
            ]
        )

    def mean(self, values: Floats, rows: NDArray[np.intp]) -> Interval:
        """Return the mean of some rows."""
        frames = [self.frames[row] for row in rows]
        return bootstrap(frames, lambda drawn: float(values[rows[drawn]].mean()), resamples=_RESAMPLES)

    def figure(
        self, rows: NDArray[np.intp], figure: Callable[[NDArray[np.intp]], float], least: float = 0.0
    ) -> Interval:
        """Return a figure of some rows, which it is given in a draw."""
        frames = [self.frames[row] for row in rows]
        return bootstrap(frames, lambda drawn: figure(rows[drawn]), least=least, resamples=_RESAMPLES)


def check_trained(compact: Outcomes, regular: Outcomes | None, fitting: Outcomes) -> list[Gate]:
    """Measure every condition.

    Args:
        compact: The compact model's answers.
        regular: The regular model's answers to the same prompts; None if there is no such model.
        fitting: The compact model's answers about other frames, on which the head of stage 0 is trained.
    """
    table = _Table.of(compact)
    foretold = _stage_0(compact, table, fitting)
    return [
        *_accuracy_gates(table),
        *_size_gates(table),
        *_confidence_gates(table),
        *_stage_0_gates(table, foretold, len(fitting.rows)),
        *_length_gates(table),
        *_pair_gates(table, None if regular is None else _Table.of(regular)),
    ]


def _accuracy_gates(table: _Table) -> list[Gate]:
    gates = []
    for kind in sorted(set(table.kinds)):
        rows = table.of_kind(kind, usable=True)
        found = table.mean(table.scores, rows)
        name = f"compact, {kind}" + (" (item F1)" if kind.startswith("list") else "")
        passed = 0.45 <= found.value <= 0.75
        gates.append(Gate(name, percent(found), "45 to 75 %", _prompts(rows), passed))
    return [*gates, _useless_gate("compact", table)]


def _useless_gate(model: str, table: _Table) -> Gate:
    rows = np.flatnonzero(~table.usable)
    found = table.mean(table.scores, rows)
    name = f"{model}, useless frames named as such"
    return Gate(
        name, percent(found), f">= {_USELESS_LEAST:.0%}", _prompts(rows), found.value >= _USELESS_LEAST
    )


def _size_gates(table: _Table) -> list[Gate]:
    """Check in usable frames that small things are beyond the compact model, and large ones are not."""
    gates = []
    for kind, chance in _CHANCE.items():
        of_kind = table.of_kind(kind, usable=True)
        for number, name in ((0, "smallest"), (3, "largest")):
            rows = of_kind[table.quarters[of_kind] == number]
            if not len(rows):
                gates.append(Gate(f"compact, {kind}, {name} quarter", NOT_MEASURED, "", "0 prompts", False))
                continue
            found = table.mean(table.scores, rows)
            small = number == 0
            passed = found.value <= chance + 0.1 if small else found.value >= 0.8
            required = f"<= {chance + 0.1:.0%} (chance + 10)" if small else ">= 80%"
            label = f"compact, {kind}, {name} quarter of sizes"
            gates.append(Gate(label, percent(found), required, _prompts(rows), passed))
    return gates


def _confidence_gates(table: _Table) -> list[Gate]:
    rows = np.flatnonzero(table.usable)
    kinds = np.asarray(table.kinds)
    separation = table.figure(
        rows,
        lambda drawn: auroc_within(table.confidence[drawn], table.right[drawn], kinds[drawn].tolist()),
    )
    gates = [
        Gate(
            "token confidence within a kind",
            auroc_text(separation),
            ">= 0.75",
            _prompts(rows),
            separation.value >= 0.75,
        )
    ]
    for name, begin in (("counts and comparisons", ("count", "compare")), ("lists", ("list",))):
        some = table.of_kind(*begin, usable=True)
        error = table.figure(
            some, lambda drawn: calibration_error(table.confidence[drawn], table.right[drawn])
        )
        text = f"ECE {error.value:.3f} ({error.low:.3f} to {error.high:.3f})"
        gates.append(Gate(f"token confidence, {name}", text, "<= 0.05", _prompts(some), error.value <= 0.05))
    return gates


def _stage_0(compact: Outcomes, table: _Table, fitting: Outcomes) -> dict[str, Floats]:
    """Return the confidence of stage 0 in each answer, for counts and for lists."""
    own, others = compact.features(), fitting.features()
    fit = _Table.of(fitting)
    foretold = {}
    for kind in ("count", "list"):
        rows, of_fit = table.of_kind(kind, usable=True), fit.of_kind(kind)
        names = [fit.frames[row] for row in of_fit]
        try:
            best = choose_regularization(others[of_fit], fit.right[of_fit], names)
            foretold[kind] = train_head(others[of_fit], fit.right[of_fit], best).predict(own[rows])
        except ConfidenceError:  # all are right, or none is
            foretold[kind] = np.full(len(rows), 0.5)
    return foretold


def _stage_0_gates(table: _Table, foretold: dict[str, Floats], pairs: int) -> list[Gate]:
    gates = []
    for kind, least in (("count", 0.7), ("list", 0.85)):
        rows = table.of_kind(kind, usable=True)
        right, kinds = table.right[rows], np.asarray(table.kinds)[rows]
        scores = foretold[kind]
        found = bootstrap(
            [table.frames[row] for row in rows],
            lambda drawn, right=right, kinds=kinds, scores=scores: auroc_within(  # type: ignore[misc]
                scores[drawn], right[drawn], kinds[drawn].tolist()
            ),
            resamples=_RESAMPLES,
        )
        sample = f"{len(rows)} prompts; head trained on some of {pairs} pairs"
        gates.append(
            Gate(f"stage 0, {kind}s", auroc_text(found), f">= {least:.2f}", sample, found.value >= least)
        )
    return gates


def _length_gates(table: _Table) -> list[Gate]:
    rows = np.arange(len(table.kinds))
    long = table.mean((table.tokens >= LONG_TOKENS).astype(np.float64), rows)
    lists = table.of_kind("list")
    tokens = float(table.tokens[lists].mean())
    gates = [
        Gate(
            f"compact model's answers of {LONG_TOKENS} tokens and more",
            percent(long),
            ">= 40 %",
            _prompts(rows),
            long.value >= 0.4,
        )
    ]
    for name in ORIN:
        profile = read_profile(published_profiles()[name])
        later_s = profile.stage_s("prefill") + tokens * profile.stage_s("decode")
        label = f"the whole list comes after stage 0 by, {name}"
        sample = f"{tokens:.1f} tokens, mean of {len(lists)} lists"
        gates.append(Gate(label, f"{later_s:.2f} s", ">= 1 s", sample, later_s >= 1))
    return gates


def _pair_gates(table: _Table, regular: _Table | None) -> list[Gate]:
    if regular is None:
        return [Gate("the regular model and the pair", NOT_MEASURED, "several", "no regular model", False)]
    if regular.frames != table.frames or regular.kinds != table.kinds:
        raise ValueError("the two models answered different prompts")
    gates = [_useless_gate("regular", regular)]
    for kind in sorted(set(table.kinds)):
        rows = table.of_kind(kind)
        own = regular.mean(regular.scores, rows)
        name = f"regular, {kind}" + (" (item F1)" if kind.startswith("list") else "")
        gates.append(Gate(name, percent(own), ">= 90 %", _prompts(rows), own.value >= 0.9))
        gain = table.figure(
            rows, lambda drawn: float((regular.scores - table.scores)[drawn].mean()), least=-1.0
        )
        name = f"regular less compact, {kind}"
        gates.append(Gate(name, points(gain), ">= 0", _prompts(rows), gain.value >= 0))
    return [*gates, *_offload_gates(table, regular)]


def _offload_gates(table: _Table, regular: _Table) -> list[Gate]:
    rows, kinds = np.arange(len(table.kinds)), np.asarray(table.kinds)
    compact, ground = table.scores, regular.scores

    def lead(drawn: NDArray[np.intp]) -> float:
        best = by_kind(compact[drawn], ground[drawn], kinds[drawn].tolist(), 0.3)
        return with_oracle(compact[drawn], ground[drawn], 0.3) - best

    found = table.figure(rows, lead, least=-1.0)
    name = "oracle less the best policy by kind, 30 % of the bytes"
    gates = [Gate(name, points(found), ">= 8 points", _prompts(rows), found.value >= 0.08)]
    for share, least in ((0.3, 0.04), (0.5, 0.08)):

        def gain(drawn: NDArray[np.intp], share: float = share) -> float:
            chosen = by_confidence(
                compact[drawn], ground[drawn], table.confidence[drawn], kinds[drawn].tolist(), share
            )
            return chosen - at_random(compact[drawn], ground[drawn], share)

        found = table.figure(rows, gain, least=-1.0)
        name = f"confidence less random within a kind, {share:.0%} of the bytes"
        required = f">= {100 * least:.0f} points"
        gates.append(Gate(name, points(found), required, _prompts(rows), found.value >= least))
    return gates


def _prompts(rows: Sequence[int] | NDArray[np.intp]) -> str:
    return f"{len(rows)} prompts"


def points(found: Interval) -> str:
    """Return a difference of shares with its interval, in percentage points."""
    return f"{100 * found.value:.1f} points ({100 * found.low:.1f} to {100 * found.high:.1f})"
