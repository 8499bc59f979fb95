"""A scenario as data: who flies, who listens, what is photographed and asked. Nothing here has an effect.

Every model refuses unknown fields, so that a misspelled one is an error and never a silent default.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from testbed.errors import ScenarioError

# Absolute, so that a scenario.json runs again from wherever it is called.
AbsolutePath = Annotated[Path, AfterValidator(Path.absolute)]


def _absolute_file(name: str) -> str:
    """A policy's name, or the whole path of the file that holds one."""
    return str(Path(name).absolute()) if name.endswith(".py") else name


PolicyName = Annotated[str, Field(min_length=1), AfterValidator(_absolute_file)]
ShaperName = Literal["auto", "nfqueue", "netem"]


class _Data(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Frame(_Data):
    """One image to be captured and the prompt asked about it.

    Args:
        frame: unique short name.
        image: image file, as it would leave the camera; sent byte for byte when it is offloaded.
        prompt: the question.
        truth: the right answer; stays with the run and is never given to a node.
        capture_s: scenario time of the capture, seconds.
        kind: family of the prompt, for tables.
    """

    frame: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.-]+$")
    image: AbsolutePath
    prompt: str = Field(min_length=1)
    truth: str
    capture_s: float = Field(ge=0)
    kind: str = ""


class RadioChanges(_Data):
    """What differs from a preset's link budget, in one direction; None keeps the preset's value.

    The fields are those of `traces.radio.link_budget.RadioLink`, in its units.  `rate_cap_bit_s` makes the
    link as narrow as an experiment wants.
    """

    carrier_hz: float | None = None
    eirp_dbw: float | None = None
    g_over_t_db_k: float | None = None
    symbol_rate_hz: float | None = None
    losses_db: float | None = None
    margin_db: float | None = None
    roll_off: float | None = None
    hysteresis_db: float | None = None
    rate_cap_bit_s: float | None = None


class Orbit(_Data):
    """A trace to be computed from orbital elements.

    Args:
        elements: TLE file.
        start: UTC moment of scenario second 0.
        length_s: seconds of trace.
        elevation_mask_deg: no contact below this elevation.
        radio: name of a preset in `traces.radio.link_budget`.
        downlink, uplink: what differs from the preset.
    """

    elements: AbsolutePath
    start: AwareDatetime
    length_s: float = Field(gt=0, le=7 * 86400)
    elevation_mask_deg: float = Field(default=5.0, ge=0, lt=90)
    radio: str = "dove"
    downlink: RadioChanges = RadioChanges()
    uplink: RadioChanges = RadioChanges()


class Satellite(_Data):
    """A satellite and its program.

    Args:
        name: as in the element file, when its links are computed from an orbit.
        model: model name or folder; opaque here, the satellite's program loads it.
        frames: what it photographs.
        policy: name of the policy, or a file with one; its program knows which there are.
        policy_parameters: values of the policy's parameters, or a JSON file of them by policy's name, such as
            the `policies.json` of an evaluation.
        accept_confidence: short for the one parameter of that name, which several policies have, 0..1.
        confidence: folder of a trained confidence network, such as an evaluation's `confidence/`.
        model_threads: CPU threads of its inference.
        profile: a machine's measured times (`python -m nodes.profile`): its answers take exactly that long.
        board: name of the board in the inventory that is this satellite, instead of an emulated host.
    """

    name: str = Field(min_length=1)
    model: str
    frames: tuple[Frame, ...] = Field(min_length=1)
    policy: PolicyName = "offload-after"
    policy_parameters: dict[str, Any] | AbsolutePath = Field(default={})
    accept_confidence: float | None = Field(default=None, ge=0, le=1)
    confidence: AbsolutePath | None = None
    model_threads: int = Field(default=1, ge=1)
    max_new_tokens: int = Field(default=8, ge=1)
    profile: AbsolutePath | None = None
    board: str | None = None

    @model_validator(mode="after")
    def _one_threshold(self) -> Satellite:
        if self.accept_confidence is not None and self.policy_parameters:
            raise ValueError("give accept_confidence, or policy_parameters that hold it, not both")
        return self


class GroundStation(_Data):
    """A ground station and its program.

    Args:
        name: of the catalogue in `traces.orbits.stations`, or any name when `place` is given.
        place: "latitude,longitude,altitude" in degrees, degrees, metres.
        model: model name or folder of the regular model, or a server's address as openai:http://HOST:PORT/v1.
        model_threads: CPU threads of its inference.
        profile: as a satellite's.
    """

    name: str = Field(min_length=1)
    model: str
    place: str | None = None
    model_threads: int = Field(default=1, ge=1)
    max_new_tokens: int = Field(default=8, ge=1)
    profile: AbsolutePath | None = None


class Link(_Data):
    """One satellite's link to one ground station, following an orbit or a recorded trace file.

    `on_contact_end` "purge" loses the packets that are inside when a contact ends, "hold" keeps them for the
    next one (nfqueue only).
    """

    satellite: str
    station: str
    follows: Orbit | AbsolutePath
    on_contact_end: Literal["purge", "hold"] = "purge"

    @property
    def name(self) -> str:
        """The link's name in tables, files and events."""
        return f"{self.satellite} - {self.station}"


class Scenario(_Data):
    """All of a run, before any of it exists.

    Args:
        name: names the run's folder.
        satellites, stations, links: who is there and who can reach whom.
        shaper: "nfqueue", "netem", or "auto" for the better one that this machine has.
        grace_s: how long after the end of every trace the run waits for answers still in the making.
        link_error_bound_s: largest acceptable median RTT error of a link.
        probe: measure each link while the run goes on.
        tls: satellites reach the stations' brokers by TLS, with an authority made for the run.
        boards: the inventory in which satellites' boards are (testbed/boards/inventory.py).
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    satellites: tuple[Satellite, ...] = Field(min_length=1)
    stations: tuple[GroundStation, ...] = Field(min_length=1)
    links: tuple[Link, ...] = Field(min_length=1)
    shaper: ShaperName = "auto"
    grace_s: float = Field(default=30.0, ge=0)
    link_error_bound_s: float = Field(default=1e-3, gt=0)
    probe: bool = True
    tls: bool = False
    boards: AbsolutePath = Field(default=Path("boards.toml"), validate_default=True)
    description: str = ""

    @model_validator(mode="after")
    def _names_hold(self) -> Scenario:
        satellites = [s.name for s in self.satellites]
        stations = [s.name for s in self.stations]
        for what, names in (
            ("satellite", satellites),
            ("station", stations),
            ("frame", [f.frame for s in self.satellites for f in s.frames]),
            ("link", [link.name for link in self.links]),
            ("board", [s.board for s in self.satellites if s.board is not None]),
        ):
            if twice := sorted({n for n in names if names.count(n) > 1}):
                raise ValueError(f"{what} named twice: {', '.join(twice)}")
        # A board's agent reports beside the satellite's program: they need names of their own.
        named = [*satellites, *stations, *(s.board for s in self.satellites if s.board is not None)]
        slugs = [re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") for name in named]
        if alike := sorted({slug for slug in slugs if slugs.count(slug) > 1}):
            raise ValueError(
                f"names of nodes or boards that differ in case or signs only: {', '.join(alike)}"
            )
        for link in self.links:
            if link.satellite not in satellites:
                raise ValueError(f"a link names satellite {link.satellite!r}; the scenario has no such one")
            if link.station not in stations:
                raise ValueError(f"a link names station {link.station!r}; the scenario has no such one")
        for satellite in self.satellites:
            own = [link for link in self.links if link.satellite == satellite.name]
            if satellite.board is not None and len(own) > 1:
                raise ValueError(
                    f"satellite {satellite.name!r} is a board, which has one link only; {len(own)} are named"
                )
        if mute := sorted(set(satellites) - {link.satellite for link in self.links}):
            raise ValueError(f"satellite without a link, so its frames could never arrive: {', '.join(mute)}")
        return self

    def satellite(self, name: str) -> Satellite:
        """The satellite called `name`; KeyError if there is none."""
        return {s.name: s for s in self.satellites}[name]

    def station(self, name: str) -> GroundStation:
        """The ground station called `name`; KeyError if there is none."""
        return {s.name: s for s in self.stations}[name]

    def frames(self) -> dict[str, Frame]:
        """Every frame of every satellite, by name."""
        return {f.frame: f for s in self.satellites for f in s.frames}

    def check_files(self) -> None:
        """Raise ScenarioError for the first file that the scenario names and that is not there."""
        for satellite in self.satellites:
            parameters, network = satellite.policy_parameters, satellite.confidence
            if isinstance(parameters, Path) and not parameters.is_file():
                raise ScenarioError(f"satellite {satellite.name}: no file of policy parameters {parameters}")
            if network is not None and not network.is_dir():
                raise ScenarioError(f"satellite {satellite.name}: no folder of a network at {network}")
        for frame in self.frames().values():
            if not frame.image.is_file():
                raise ScenarioError(f"frame {frame.frame}: no image file at {frame.image}")
        nodes: list[Satellite | GroundStation] = [*self.satellites, *self.stations]
        for node in nodes:
            if node.profile is not None and not node.profile.is_file():
                raise ScenarioError(f"{node.name}: no profile at {node.profile}")
        for link in self.links:
            path = link.follows.elements if isinstance(link.follows, Orbit) else link.follows
            if not path.is_file():
                what = "element file" if isinstance(link.follows, Orbit) else "trace file"
                raise ScenarioError(f"link {link.name}: no {what} at {path}")


class _PromptRow(BaseModel):
    """A line of prompts.jsonl; more keys than these are welcome."""

    model_config = ConfigDict(extra="ignore")
    frame: Annotated[str, Field(min_length=1)]
    image: str
    prompt: str
    truth: str
    kind: str = ""


def read_frames(folder: Path, capture_s: Sequence[float]) -> tuple[Frame, ...]:
    """Read `folder/prompts.jsonl` (keys: frame, image, prompt, truth, kind), captured at `capture_s`.

    Takes as many lines as there are capture times, from the top; raises ScenarioError when there are
    fewer, or when a line does not hold.
    """
    path = folder / "prompts.jsonl"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ScenarioError(f"cannot read the prompts at {path}: {error.strerror}") from None
    if len(lines) < len(capture_s):
        raise ScenarioError(f"{path} has {len(lines)} frames, but {len(capture_s)} capture times were given")
    frames = []
    for number, (line, time_s) in enumerate(zip(lines, capture_s, strict=False), start=1):
        try:
            row = _PromptRow.model_validate_json(line)
            frames.append(
                Frame(
                    frame=row.frame,
                    image=folder / row.image,
                    prompt=row.prompt,
                    truth=row.truth,
                    kind=row.kind,
                    capture_s=time_s,
                )
            )
        except ValidationError as error:
            raise ScenarioError(f"{path}, line {number}: {one_line(error)}") from None
    return tuple(frames)


def one_line(error: ValidationError) -> str:
    """A pydantic error as one line: where, what is wrong, and the fields that exist when one is unknown."""
    parts = []
    for item in error.errors():
        where = ".".join(str(p) for p in item["loc"]) or "scenario"
        if item["type"] == "extra_forbidden":
            parts.append(f"{where}: there is no such field (misspelled?)")
        else:
            parts.append(f"{where}: {item['msg'].removeprefix('Value error, ')}")
    return f"{error.title}: " + "; ".join(parts)


def to_json(scenario: Scenario) -> str:
    """The scenario as JSON that `load_scenario` reads back."""
    return json.dumps(scenario.model_dump(mode="json"), indent=2) + "\n"


def utc(text: str) -> datetime:
    """An ISO 8601 moment such as 2018-01-20T13:05:00Z; raises ScenarioError."""
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise ScenarioError(f"{text!r} is not a moment like 2018-01-20T13:05:00Z") from None
    if moment.tzinfo is None:
        raise ScenarioError(f"{text!r} has no time zone; write 2018-01-20T13:05:00Z for UTC")
    return moment
