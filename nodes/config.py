"""Configuration files of the satellite and ground programs: JSON, checked field by field."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator


class ConfigError(ValueError):
    """A configuration that cannot be used; one line: which file, which field, what was expected."""


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}$")]
Port = Annotated[int, Field(ge=1, le=65535)]


class Strict(BaseModel):
    """Refuses misspelled fields; never changes after it was read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class BrokerAddress(Strict):
    """Where an MQTT broker listens: either `unix_socket`, or `host` and `port`."""

    unix_socket: Path | None = None
    host: str | None = None
    port: Port = 1883

    @model_validator(mode="after")
    def _one_of_both(self) -> BrokerAddress:
        if (self.unix_socket is None) == (self.host is None):
            raise ValueError("give either unix_socket, or host and port")
        return self

    def __str__(self) -> str:
        return str(self.unix_socket) if self.unix_socket is not None else f"{self.host}:{self.port}"


class Station(Strict):
    """A ground station's broker, as the satellite reaches it over the emulated link."""

    name: Name
    host: str
    port: Port = 1883


class Frame(Strict):
    """One image that the satellite takes, and what is asked about it.

    `capture_s` is scenario time in seconds; it may lie before the first contact.
    """

    frame: str = Field(min_length=1, max_length=200)
    image: Path
    prompt: str = Field(min_length=1, max_length=4000)
    capture_s: float = Field(ge=0, allow_inf_nan=False)


class NodeConfig(Strict):
    """What satellites and ground stations have in common."""

    name: Name
    management: BrokerAddress
    model: str = Field(min_length=1)
    model_threads: int = Field(default=1, ge=1, le=1024)
    max_new_tokens: int = Field(default=16, ge=1, le=4096)


class SatelliteConfig(NodeConfig):
    """A satellite: camera, compact model, outbox, and the stations that it may meet.

    `interface` is the network interface whose carrier tells a contact; None means that there is
    always contact. `rate_bit_s` is the downlink's planning rate, from which chunks are sized.
    """

    interface: str | None = Field(default=None, min_length=1, max_length=15)
    stations: list[Station] = Field(min_length=1)
    policy: str = "offload-after"
    accept_confidence: float = Field(default=0.75, ge=0, le=1)
    frames: list[Frame] = []
    outbox: Path
    rate_bit_s: float = Field(gt=0, allow_inf_nan=False)
    seed: int = 0

    @model_validator(mode="after")
    def _unique_frames(self) -> SatelliteConfig:
        seen: set[str] = set()
        for frame in self.frames:
            if frame.frame in seen:
                raise ValueError(f"frame {frame.frame!r} appears twice; every frame needs its own name")
            seen.add(frame.frame)
        return self


class GroundConfig(NodeConfig):
    """A ground station: its own broker, regular model, inbox."""

    broker: BrokerAddress
    inbox: Path


AnyConfig = TypeVar("AnyConfig", bound=NodeConfig)


def read_config(kind: type[AnyConfig], path: Path) -> AnyConfig:
    """Read and check a JSON configuration file. Raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        raise ConfigError(f"{path}: {_first_problem(error, kind)}") from error


def check_images(config: SatelliteConfig, path: Path) -> None:
    """See that every frame's image is a file. Raises ConfigError."""
    for frame in config.frames:
        if not frame.image.is_file():
            raise ConfigError(f"{path}: frame {frame.frame!r}: image {frame.image} is not a file")


def _first_problem(error: ValidationError, kind: type[NodeConfig]) -> str:
    problems = error.errors()
    first = problems[0]
    where = ".".join(str(part) for part in first["loc"])
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    if first["type"] == "extra_forbidden":
        at_top = len(first["loc"]) == 1
        known = f"; known fields: {', '.join(kind.model_fields)}" if at_top else ""
        return f"unknown field {where!r}{known}{more}"
    message = first["msg"].removeprefix("Value error, ")
    return f"{where}: {message}{more}" if where else f"{message}{more}"
