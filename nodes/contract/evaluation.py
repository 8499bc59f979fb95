"""The job file of an evaluation: `spaceverse eval` writes it, `python -m nodes.lab.evaluation` runs it."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import Field, ValidationError, model_validator

from nodes.contract.config import ConfigError, PlanRow, first_problem
from nodes.contract.models.options import ModelOptions, options_in
from nodes.contract.queueing import SendOrder
from nodes.contract.strict import Strict

POLICY_NAMES = (
    "spaceverse",
    "satellite-only",
    "ground-only",
    "ground-only-downsampled",
    "offload-after",
    "cascade",
    "two-threshold",
    "grace-two-tests",
    "serval",
    "token-regions",
    "kind-lookup",
    "offload-after-contact",
    "ground-only-newest",
    "ground-only-fit",
    "ground-only-quality",
    "spaceverse-without-stage-0",
    "spaceverse-without-later-stages",
    "spaceverse-without-regions",
    "spaceverse-without-contact",
    "oracle",
)

# Named loads of `spaceverse eval --load` (testbed/evaluation/loads.py).
LOADS = ("orbit-0.3", "orbit-1", "orbit-1.4", "orbit-3", "orbit-10", "burst", "starlink")
# Layouts of data sets that `--data NAME:FOLDER` reads (nodes/data/formats), and what each looks like.
DATA_LAYOUTS = {
    "prompts": "prompts.jsonl: a line per question",
    "rsvqa-lr": "LR_split_*_{questions,answers,images}.json; Images_LR/",
    "rsvqa-hr": "USGS_split_*_{questions,answers,images}.json; Data/",
    "aid": "a folder per class",
    "resisc45": "a folder per class, perhaps in NWPU-RESISC45/; resisc45-SPLIT.txt",
    "lrs-vqa": "LRS_VQA_merged.jsonl; image/",
    "vqa": "*questions*.json and *annotations*.json, as VQA has them",
    "hf-datasets": "what save_to_disk of Hugging Face datasets writes; needs pyarrow",
}
_LAYOUT_AND_FOLDER = re.compile(r"([a-z0-9-]+):(.+)", re.DOTALL)
# Places of --cluster that are no Ray cluster, and what submitit calls them.
SLURM_PLACES = {"slurm": "slurm", "slurm-local": "local"}
_PUBLISHED = Path(__file__).resolve().parents[1] / "profiles" / "published"
# Names by machine and size of the model alone, for the profiles whose names also tell the numbers' type.
PROFILE_ALIASES = {
    "jetson-orin-nano-2b": "orin-nano-2b-w4a16",
    "jetson-orin-nx-2b": "orin-nx-2b-fp16",
    "jetson-agx-orin-2b": "agx-orin-2b-fp16",
    "rtx-3090-7b": "rtx3090-7b-bf16",
    "rtx-4090-7b": "rtx4090-7b-bf16",
}


def split_source(source: str | Path) -> tuple[str | None, Path]:
    """Return the layout and the folder of a data set: of `rsvqa-lr:FOLDER`, or of a folder, whose files tell.

    Raises:
        ValueError: there is no layout of that name.
    """
    match = _LAYOUT_AND_FOLDER.fullmatch(str(source))
    if match is None or Path(source).is_dir():
        return None, Path(source)
    if match[1] not in DATA_LAYOUTS:
        raise ValueError(f"no data set layout is called {match[1]!r}; known ones: {', '.join(DATA_LAYOUTS)}")
    return match[1], Path(match[2])


def published_profiles() -> dict[str, Path]:
    """Return the shipped profiles of published compute times by name; each names its source."""
    return {path.stem: path for path in sorted(_PUBLISHED.glob("*.json"))}


def profile_path(name: str | Path) -> Path:
    """Return the file of a profile that is given by its path, or of a shipped one by its name or alias.

    Raises:
        ValueError: it looks like a name, and no shipped profile has it.
    """
    shipped, path = published_profiles(), Path(name)
    by_name = PROFILE_ALIASES.get(str(name), str(name))
    if by_name in shipped:
        return shipped[by_name]
    if path.name == str(name) and not path.suffix and not path.exists():
        near = difflib.get_close_matches(str(name), [*shipped, *PROFILE_ALIASES], n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"no profile is called {str(name)!r}; shipped ones: {', '.join(shipped)}{hint}")
    return path.absolute()


class JobRow(PlanRow):
    """A row of a trace; see nodes.onboard.link_forecast.ForecastRow."""

    down_delay_s: float = Field(ge=0)
    up_delay_s: float = Field(ge=0)


class JobPass(Strict):
    """One link and the times at which frames are captured for it."""

    name: str
    rows: list[JobRow] = Field(min_length=1)
    end_s: float = Field(gt=0)
    captures_s: list[float] = Field(min_length=1)


class JobCase(Strict):
    """All passes at one downlink rate.

    Attributes:
        name: Name of the case in tables; "" for that of its rate.
        load: Bytes of all frames as captured over those that the links carry; the rates of the links are
            scaled to it. None leaves the rates as they are.
        part: The case has fewer captures than there are pairs; only the first pairs of the order are used.
        of_load: Name of the case of which it is a part: it gets that case's scaled rates, and of
            its captures those at which that case has a frame.
        begins_s: Where that part begins.
    """

    name: str = ""
    rate_bit_s: float = Field(gt=0)
    load: float | None = Field(default=None, gt=0)
    passes: list[JobPass] = Field(min_length=1)
    part: bool = False
    of_load: str = ""
    begins_s: float = Field(default=0.0, ge=0)

    @property
    def title(self) -> str:
        """Name of the case."""
        return self.name or f"at most {self.rate_bit_s / 1e6:g} Mbit/s"


class JobData(Strict):
    """A data set, and its splits for selection and testing.

    Attributes:
        folder: Path of a folder, perhaps after its layout (`rsvqa-lr:FOLDER`), or the name of a data set that
            ships with this package.
        split: Split to test on.
        choose_split: Split to select thresholds and heads on. Without it and `choose_folder`, half of the
            frames, picked by a hash of their names, is set apart for selection.
        choose_folder: As `folder`, for selection.
        limit: At most this many pairs for selection, and this many for testing.
    """

    folder: str
    split: str | None = None
    choose_split: str | None = None
    choose_folder: str | None = None
    limit: int | None = Field(default=None, ge=2)


class Job(ModelOptions):
    """An evaluation: models and how both run, data, policies and links.

    Attributes:
        model_threads: Threads of each process for inference; `threads` in older files.
        emulated: Cases that are also played over the emulated network; the event model's rows of them go to
            `modelled.csv`.
        answer_within_s: Deadline of an answer, in seconds after capture.
        target: Label that the confidence network predicts.
        goal: "budget" selects the most accurate thresholds within a byte budget, the same for all policies;
            "floor" those with the fewest bytes above an accuracy floor.
        goal_bytes: The budget, in mean bytes per prompt; None stands for a share of sending everything.
        jobs: Number of processes that compute outcomes, each with its own models and threads; on a Ray
            cluster, None stands for as many as it has room for.
        cluster: "auto" or HOST:PORT of a Ray cluster that computes outcomes and cells; "slurm" for jobs of
            Slurm, "slurm-local" for the same as processes of this machine; None for this machine.
        worker_gpus: GPUs that each worker on a Ray cluster takes, such as 0.5; None stands for one with a
            CUDA device, else for none.
        slurm: Options of `sbatch` by name, such as partition and time.
        send_order: Order in which images that wait for a contact are sent (nodes/policies/send_order.py).
        times: Profile of another machine (nodes/profiles/profile.py); None measures this machine.
        ground_times: Profile of the ground's machine, for its answers to messages.
        ground_servers: Number of copies of the regular model on the ground.
    """

    version: Literal[1] = 1
    data: JobData
    compact: str = "compact"
    regular: str = "regular"
    policies: list[str] = Field(default=list(POLICY_NAMES), min_length=1)
    cases: list[JobCase] = Field(min_length=1)
    emulated: list[JobCase] = Field(default=[])
    answer_within_s: float = Field(default=600.0, gt=0)
    send_order: SendOrder = "oldest"
    target: Literal["correctness", "agreement"] = "correctness"
    goal: Literal["floor", "budget"] = "budget"
    goal_bytes: float | None = Field(default=None, gt=0)
    seed: int = 0
    model_threads: int = Field(default=1, ge=1, le=1024)
    jobs: int | None = Field(default=1, ge=1)
    cluster: str | None = Field(default=None, min_length=1)
    worker_gpus: float | None = Field(default=None, ge=0)
    slurm: dict[str, str] = Field(default={})
    times: Path | None = None
    ground_times: Path | None = None
    ground_servers: int = Field(default=1, ge=1)
    cache: Path
    output: Path

    @property
    def options(self) -> ModelOptions:
        """How both models run."""
        return options_in(self)

    @model_validator(mode="before")
    @classmethod
    def _renamed(cls, fields: Any) -> Any:
        if isinstance(fields, dict) and "threads" in fields:
            fields = {"model_threads": fields["threads"]} | fields
            del fields["threads"]
        return fields

    @model_validator(mode="after")
    def _one_goal(self) -> Job:
        if self.goal == "floor" and self.goal_bytes is not None:
            raise ValueError("goal_bytes is the size of a budget: omit it, or set the goal to budget")
        return self

    @model_validator(mode="after")
    def _workers_fit_the_cluster(self) -> Job:
        on_slurm, on_ray = self.cluster in SLURM_PLACES, self.cluster not in (None, *SLURM_PLACES)
        if self.jobs is None and not on_ray:
            raise ValueError("jobs has no default except on a Ray cluster: give the number of jobs")
        if self.worker_gpus is not None and not on_ray:
            raise ValueError("worker_gpus is for workers on a Ray cluster: omit it, or set cluster")
        if self.slurm and not on_slurm:
            raise ValueError("slurm has options of Slurm jobs: omit it, or set cluster to slurm")
        return self


def default_of(field: str) -> Any:
    """Return the default of a field of Job."""
    return Job.model_fields[field].get_default()


def choices_of(field: str) -> tuple[Any, ...]:
    """Return the values that a field of Job may have, one of a Literal."""
    return get_args(Job.model_fields[field].annotation)


def read_job(path: Path) -> Job:
    """Read and check a job file.

    Raises:
        ConfigError: The file cannot be read, or a field is unsuitable; the text is one line.
    """
    try:
        return Job.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    except ValidationError as error:
        raise ConfigError(f"{path}: {first_problem(error, Job)}") from error
