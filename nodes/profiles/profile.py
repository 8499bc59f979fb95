"""A machine's measured profile: how long each stage of an answer takes there, and what it costs.

`python -m nodes.profile` writes one, as JSON. An emulated satellite with a profile takes exactly that long
(nodes/profiles/pace.py); `spaceverse eval --times` plays its event model with one
(nodes/lab/evaluation/compute_times.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, model_validator

from nodes.contract.config import ConfigError, first_problem
from nodes.contract.strict import Strict

FORMAT: Literal["spaceverse-profile-1"] = "spaceverse-profile-1"
# Of one answer, in order: `preprocess` opens the file as well; `decode` is each token after the first, the
# one that ends the answer included.
STAGES = ("preprocess", "vision", "prefill", "decode")
# Beside them: from the program's start to its first answer; where the prompt looks, region by region; making
# a message of regions of an open frame, or a smaller frame from the file. On the ground: the regular model's
# whole answer about what came down, and passing an answer on.
OTHER_STAGES = ("cold_start", "attend", "pack", "reduce", "whole", "reduced", "regions", "pass_on")


class Stage(Strict):
    """Seconds of one stage over `count` repetitions, without those that warmed up."""

    p50_s: float = Field(ge=0, allow_inf_nan=False)
    p95_s: float = Field(ge=0, allow_inf_nan=False)
    count: int = Field(ge=1)


class AnswerEnergy(Strict):
    """What an answer takes above idling, joules, and idling itself, watts; from which sensor, of what."""

    p50_j: float = Field(allow_inf_nan=False)
    p95_j: float = Field(allow_inf_nan=False)
    count: int = Field(ge=1)
    idle_w: float = Field(allow_inf_nan=False)
    source: str
    scope: str


class Profile(Strict):
    """One machine with one model.

    Args:
        name: of the machine, in events and reports.
        model: that was measured.
        parameters: its weights.
        device, dtype, threads: how it was run.
        machine: what the machine says of itself.
        measured_utc: when.
        image_px: widths and heights of the images that were asked about.
        stages: by the names in STAGES and OTHER_STAGES; those in STAGES are always there.
        energy: None where no sensor was found, and `no_energy` says why.
        throttled: what slowed the machine down since it was switched on, as far as it tells.
    """

    format: Literal["spaceverse-profile-1"] = FORMAT
    name: str = Field(min_length=1, max_length=64)
    model: str
    parameters: int = Field(ge=1)
    device: str = "cpu"
    threads: int | None = None
    machine: dict[str, str] = Field(default_factory=dict)
    measured_utc: str = ""
    image_px: list[tuple[int, int]] = Field(default_factory=list)
    stages: dict[str, Stage]
    energy: AnswerEnergy | None = None
    no_energy: str | None = None
    throttled: list[str] | None = None

    @model_validator(mode="after")
    def _has_its_stages(self) -> Profile:
        if missing := [name for name in STAGES if name not in self.stages]:
            raise ValueError(f"stages: {', '.join(missing)} missing")
        if unknown := sorted(set(self.stages) - {*STAGES, *OTHER_STAGES}):
            raise ValueError(f"stages: {', '.join(unknown)} unknown")
        return self

    def stage_s(self, name: str) -> float:
        """Median of a stage, seconds. Raises KeyError for one that was not measured."""
        return self.stages[name].p50_s

    @property
    def seen_s(self) -> float:
        """From the start until the image has been seen: preprocessing and vision tower."""
        return self.stage_s("preprocess") + self.stage_s("vision")

    def answer_s(self, further_tokens: int) -> float:
        """A whole answer, `further_tokens` after the first (the one that ends it included)."""
        return self.seen_s + self.stage_s("prefill") + further_tokens * self.stage_s("decode")


def read_profile(path: Path) -> Profile:
    """Read and check a profile. Raises ConfigError: one line."""
    try:
        return Profile.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"profile {path}: cannot be read: {error}") from error
    except ValidationError as error:
        problem = first_problem(error, Profile)
        raise ConfigError(f"profile {path}: {problem}; `python -m nodes.profile` writes one") from error
