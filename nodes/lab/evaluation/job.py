"""What an evaluation is asked for: a JSON file, checked field by field."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, model_validator

from nodes.contract.config import ConfigError, PlanRow, Strict


class JobRow(PlanRow):
    """A row of a trace; see nodes.contract.line.Row."""

    down_delay_s: float = Field(ge=0)
    up_delay_s: float = Field(ge=0)


class Pass(Strict):
    """One link, and when frames are taken for it."""

    name: str
    rows: list[JobRow] = Field(min_length=1)
    end_s: float = Field(gt=0)
    captures_s: list[float] = Field(min_length=1)


class Case(Strict):
    """The same passes under one rate.

    part: only as many pairs are played as there are captures, the first of those that are dealt.
    """

    rate_bit_s: float = Field(gt=0)
    passes: list[Pass] = Field(min_length=1)
    part: bool = False


class Data(Strict):
    """A data set: a folder, or the name of one that ships, and which of its splits.

    Where `choose_split` is None, half of the frames are set apart for choosing, by a hash of their names.
    """

    folder: str
    split: str | None = None
    choose_split: str | None = None
    choose_folder: str | None = None
    limit: int | None = Field(default=None, ge=2)


class Job(Strict):
    """An evaluation.

    emulated: cases that are also played over the emulated network; modelled apart, into `modelled.csv`.
    times: the profile of another machine (nodes/profiles/profile.py); None measures this one.
    jobs: so many processes compute outcomes, each with models and `threads` of its own.
    goal: thresholds are those of the fewest bytes above an accuracy floor, or the most accurate ones within a
        byte budget; goal_bytes: the budget, mean bytes a frame (None: choosing.BUDGET_SHARE of all).
    """

    version: Literal[1] = 1
    data: Data
    compact: str
    regular: str
    policies: list[str] = Field(min_length=1)
    cases: list[Case] = Field(min_length=1)
    emulated: list[Case] = Field(default=[])
    answer_within_s: float = Field(default=600.0, gt=0)
    target: Literal["agreement", "correctness"] = "correctness"
    goal: Literal["floor", "budget"] = "floor"
    goal_bytes: float | None = Field(default=None, gt=0)
    seed: int = 0
    device: str = "cpu"
    threads: int = Field(default=1, ge=1)
    jobs: int = Field(default=1, ge=1)
    max_new_tokens: int = Field(default=8, ge=1)
    times: Path | None = None
    cache: Path
    output: Path

    @model_validator(mode="after")
    def _one_goal(self) -> Job:
        if self.goal == "floor" and self.goal_bytes is not None:
            raise ValueError("goal_bytes is the size of a budget: leave it out, or take the goal budget")
        return self


def read_job(path: Path) -> Job:
    """Read and check. Raises ConfigError (one line)."""
    try:
        return Job.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{path}: {where}: {first['msg']}") from error
