"""Measured profile of a machine: time of each stage of an answer, and energy of an answer.

`python -m nodes.profile` writes one as JSON. An emulated satellite with a profile takes exactly the measured
time (nodes/profiles/pace.py); `spaceverse eval --times` uses a profile in its event model
(nodes/lab/evaluation/compute_times.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from nodes.contract.config import ConfigError, first_problem
from nodes.contract.models.options import ModelOptions
from nodes.contract.strict import Strict

FORMAT: Literal["spaceverse-profile-1"] = "spaceverse-profile-1"
# Stages of one answer, in order. `preprocess` includes opening the file; `decode` is the time of each token
# after the first, including the end token.
STAGES = ("preprocess", "vision", "prefill", "decode")
# Other times: from the program's start to its first answer (cold_start); a score for each region from the
# model's attention (attend); a message of regions of an open frame (pack); a smaller frame from the file
# (reduce). On the ground: the regular model's whole answer to each form of message (whole, reduced, regions),
# and forwarding a satellite's answer (pass_on).
OTHER_STAGES = ("cold_start", "attend", "pack", "reduce", "whole", "reduced", "regions", "pass_on")


_OLD_OPTIONS = {"device": "device", "threads": "model_threads"}
_OF_IMAGES = ("min_pixels", "max_pixels")
_OF_ANSWERS = ("stated_dtype", "quantisation", "attention_implementation", "revision")


class Stage(Strict):
    """Seconds of one stage over `count` repetitions, without the warm-up."""

    p50_s: float = Field(ge=0, allow_inf_nan=False)
    p95_s: float = Field(ge=0, allow_inf_nan=False)
    count: int = Field(ge=1)


class AnswerEnergy(Strict):
    """Energy of an answer above idle in joules, idle power in watts, and the source and scope of both."""

    p50_j: float = Field(allow_inf_nan=False)
    p95_j: float = Field(allow_inf_nan=False)
    count: int = Field(ge=1)
    idle_w: float = Field(allow_inf_nan=False)
    source: str
    scope: str


class Profile(Strict):
    """One machine with one model.

    Args:
        name: name of the machine in events and reports.
        model: the measured model.
        parameters: number of the model's weights.
        options: how it ran; older files have `device` and `threads` instead.
        machine: description of the machine.
        measured_utc: time of the measurement.
        image_px: (width, height) of the images.
        stages: times by the names in STAGES and OTHER_STAGES; those in STAGES are required.
        energy: energy of an answer; None without a working sensor.
        no_energy: reason why there is no `energy`.
        throttled: reasons for which the machine was slowed down since boot; None if unknown.
    """

    format: Literal["spaceverse-profile-1"] = FORMAT
    name: str = Field(min_length=1, max_length=64)
    model: str
    parameters: int = Field(ge=1)
    options: ModelOptions = ModelOptions()
    machine: dict[str, str] = Field(default_factory=dict)
    measured_utc: str = ""
    image_px: list[tuple[int, int]] = Field(default_factory=list)
    stages: dict[str, Stage]
    energy: AnswerEnergy | None = None
    no_energy: str | None = None
    throttled: list[str] | None = None

    @model_validator(mode="before")
    @classmethod
    def _with_options(cls, fields: Any) -> Any:
        if not isinstance(fields, dict) or "options" in fields:
            return fields
        old = {new: fields[name] for name, new in _OLD_OPTIONS.items() if name in fields}
        return {key: value for key, value in fields.items() if key not in _OLD_OPTIONS} | {"options": old}

    @model_validator(mode="after")
    def _has_its_stages(self) -> Profile:
        if missing := [name for name in STAGES if name not in self.stages]:
            raise ValueError(f"missing stages: {', '.join(missing)}")
        if unknown := sorted(set(self.stages) - {*STAGES, *OTHER_STAGES}):
            raise ValueError(f"unknown stages: {', '.join(unknown)}")
        return self

    def stage_s(self, name: str) -> float:
        """Return the median of a stage in seconds.

        Raises:
            KeyError: the stage was not measured.
        """
        return self.stages[name].p50_s

    @property
    def seen_s(self) -> float:
        """Seconds of preprocessing and vision tower."""
        return self.stage_s("preprocess") + self.stage_s("vision")

    def answer_s(self, further_tokens: int) -> float:
        """Return the seconds of an answer with `further_tokens` after the first, including the end token."""
        return self.seen_s + self.stage_s("prefill") + further_tokens * self.stage_s("decode")


def check_comparable(profile: Profile, options: ModelOptions) -> None:
    """Check that a profile's times are those of images of the size that a model will see.

    Raises:
        ConfigError: They are not.
    """
    measured = profile.options
    for name in _OF_IMAGES:
        there, here = getattr(measured, name), getattr(options, name)
        if name in measured.model_fields_set and there != here:
            raise ConfigError(
                f"profile {profile.name} was measured with {name} {_shown(there)}, and the model runs with "
                f"{_shown(here)}: its times are those of images of another size; set {name} to "
                f"{_shown(there)}, or measure a profile anew"
            )


def difference(profile: Profile, options: ModelOptions) -> str | None:
    """Return in words how a profile's model ran otherwise than a model runs here, as far as answers differ.

    Another device and another number of threads are what a profile is for.
    """
    measured = profile.options
    if not measured.model_fields_set > set(_OLD_OPTIONS.values()):
        return None  # an older file: it does not say
    found = [
        f"{name.removeprefix('stated_')} {_shown(there)} there, {_shown(here)} here"
        for name in _OF_ANSWERS
        if (there := getattr(measured, name)) != (here := getattr(options, name))
    ]
    return "; ".join(found) or None


def _shown(value: object) -> str:
    return "unset" if value is None else str(value)


def read_profile(path: Path) -> Profile:
    """Read and check a profile.

    Raises:
        ConfigError: the file is not a profile; the text is one line.
    """
    try:
        return Profile.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"profile {path}: cannot be read: {error}") from error
    except ValidationError as error:
        problem = first_problem(error, Profile)
        raise ConfigError(f"profile {path}: {problem}; create one with `python -m nodes.profile`") from error
