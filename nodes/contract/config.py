"""Configuration files of the satellite and ground programs: JSON, checked field by field."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, Field, ValidationError, model_validator

from nodes.contract.models.options import ModelOptions, options_in
from nodes.contract.power.parameters import Power
from nodes.contract.power.sunlight import Sunlight
from nodes.contract.queueing import SendOrder
from nodes.contract.strict import Strict, problems_of

LONGEST_NAME = 64
FRAMES_KEPT_BYTES = 1 << 30


class ConfigError(ValueError):
    """A configuration that cannot be used; the message is one line with file, field and expectation."""


def _printable(name: str) -> str:
    if not (0 < len(name) <= LONGEST_NAME and name.isprintable() and name == name.strip()):
        raise ValueError(f"a name has 1 to {LONGEST_NAME} printable characters, the first and last not blank")
    return name


Name = Annotated[str, AfterValidator(_printable)]
"""Name of a node, as in an element file: any printable characters, since topics and files use its slug."""
PlainName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}$")]
Port = Annotated[int, Field(ge=1, le=65535)]
Limit = Annotated[int, Field(ge=1)]


class MqttAccess(Strict):
    """A program's account at a broker. By convention the user name is the node's slug, as in topics.

    A broker with accounts takes the user name for the client id, so that nobody can take over the session of
    another, and an account has one session at a time. A second session has a name of its own: `second`.
    """

    username: str = Field(min_length=1, max_length=256)
    password: str = Field(min_length=1, max_length=1024, repr=False)

    def second(self, session: str) -> MqttAccess:
        """Return the same account under the name of a second session."""
        return MqttAccess(username=session_name(self.username, session), password=self.password)


def session_name(username: str, session: str) -> str:
    """Return the user name of an account's second session; no slug contains a dot."""
    return f"{username}.{session}"


class BrokerAddress(Strict):
    """Address of an MQTT broker: either `unix_socket`, or `host` (name or address, also IPv6) and `port`.

    With an authority, as the file `ca_file` or as PEM text in `ca_pem`, the connection uses TLS 1.3, and the
    broker must have a certificate for `host` that this authority has signed. Without `access` the program is
    anonymous.
    """

    unix_socket: Path | None = None
    host: str | None = None
    port: Port = 1883
    access: MqttAccess | None = None
    ca_file: Path | None = None
    ca_pem: str | None = Field(default=None, min_length=1, max_length=100_000, repr=False)

    @model_validator(mode="after")
    def _one_of_both(self) -> BrokerAddress:
        if (self.unix_socket is None) == (self.host is None):
            raise ValueError("set either unix_socket, or host and port")
        if self.unix_socket is not None and self.has_authority:
            raise ValueError("ca_file and ca_pem apply to host and port only; a unix_socket needs no TLS")
        if self.ca_file is not None and self.ca_pem is not None:
            raise ValueError("set either ca_file or ca_pem, not both")
        return self

    @property
    def has_authority(self) -> bool:
        """Whether the broker has to prove its identity."""
        return self.ca_file is not None or self.ca_pem is not None

    def __str__(self) -> str:
        return str(self.unix_socket) if self.unix_socket is not None else f"{self.host}:{self.port}"


class PlanRow(Strict):
    """Contact and downlink rate from `time_s` until the next row.

    Args:
        time_s: begin of the row.
        up: whether there is contact: a carrier, since a direction is up.
        down_bit_s: rate of the downlink; 0 while a direction is down, since a transfer needs both.
    """

    time_s: float = Field(ge=0, allow_inf_nan=False)
    up: bool
    down_bit_s: float = Field(ge=0, allow_inf_nan=False)


class LinkPlan(Strict):
    """A satellite's forecast of a link, by scenario time; the last row holds until `end_s`."""

    rows: tuple[PlanRow, ...] = Field(min_length=1)
    end_s: float = Field(gt=0, allow_inf_nan=False)


class Station(Strict):
    """A ground station's broker, as the satellite reaches it over the emulated link.

    Args:
        name: the station's name.
        host: as in BrokerAddress, like `port`, `access` and `ca_file`.
        interface: network interface whose carrier means contact with this station; None: always contact.
        told: whether the run announces the contacts over the management plane, since this machine's own
            interface keeps its carrier (a board's).
        routed: whether contact means that this machine has a route to `host`, an IPv4 address, whatever
            interface it leads out of.
        plan: forecast of the contacts, for the policy; without one it takes the contact for endless.
    """

    name: Name
    host: str = Field(min_length=1)
    port: Port = 1883
    interface: str | None = Field(default=None, min_length=1, max_length=15)
    told: bool = False
    routed: bool = False
    access: MqttAccess | None = None
    ca_file: Path | None = None
    plan: LinkPlan | None = None


class Frame(Strict):
    """An image to capture and the question about it.

    Args:
        frame: the frame's name.
        image: the image file.
        prompt: the question.
        capture_s: scenario time of the capture; it may lie before the first contact.
        expires_after_s: time after the capture from which the answer is worthless, and neither it nor the
            image is sent; None means never.
        value: worth of the answer beside that of other frames, for the send order `value`.
    """

    frame: str = Field(min_length=1, max_length=200)
    image: Path
    prompt: str = Field(min_length=1, max_length=4000)
    capture_s: float = Field(ge=0, allow_inf_nan=False)
    expires_after_s: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    value: float = Field(default=1.0, ge=0, allow_inf_nan=False)


class I2cPowerSensor(Strict):
    """An INA219 or INA226 in the board's supply line that has no kernel driver; it is read over I2C.

    Args:
        chip: its type.
        shunt_ohm: resistance of the shunt that it measures across.
        bus: number of the I2C bus, N of /dev/i2c-N.
        address: of the chip on the bus, 7 bits.
    """

    chip: Literal["ina219", "ina226"]
    shunt_ohm: float = Field(gt=0, allow_inf_nan=False)
    bus: int = Field(default=1, ge=0, le=255)
    address: int = Field(default=0x40, ge=0x08, le=0x77)


class ModelRun(ModelOptions):
    """A node's model and how it runs; common to scenarios and configurations of nodes.

    Args:
        model: name or folder of the model, or the address of a server (nodes/vlm/openai.py).
        model_threads: CPU threads for inference.
        profile: measured inference times of another machine (nodes/profiles/profile.py); answers are delayed
            to match.
    """

    model: str = Field(min_length=1)
    model_threads: int = Field(default=1, ge=1, le=1024)
    profile: Path | None = None

    @property
    def options(self) -> ModelOptions:
        """How the model runs."""
        return options_in(self)


SHIPPED_MODELS = Path(__file__).resolve().parents[1] / "models"


def is_shipped(model: str) -> bool:
    """Return whether a model is one of those that ship with the project."""
    return Path(model).resolve().is_relative_to(SHIPPED_MODELS)


class PolicyChoice(Strict):
    """A satellite's policy; common to scenarios and configurations of satellites.

    Args:
        policy: name of a policy in nodes/policies, or a Python file that defines one.
        policy_parameters: the policy's parameters, or a JSON file of parameters by policy name.
        accept_confidence: the policy parameter of this name, 0 to 1.
        confidence: folder of a trained confidence network (nodes/onboard/judge.py). Without it a policy has
            only the token probabilities, and regions are found by all attention heads alike.
        send_order: order in which images that wait for a contact are sent (nodes/policies/send_order.py).
    """

    policy: str = "offload-after"
    policy_parameters: dict[str, Any] | Path = Field(default_factory=dict)
    accept_confidence: float | None = Field(default=None, ge=0, le=1)
    confidence: Path | None = None
    send_order: SendOrder = "oldest"

    @model_validator(mode="after")
    def _one_threshold(self) -> PolicyChoice:
        if self.accept_confidence is not None and self.policy_parameters:
            raise ValueError("set either accept_confidence, or policy_parameters that contain it, not both")
        return self

    @property
    def parameters(self) -> dict[str, Any] | Path:
        """The policy's parameters, or their file."""
        if self.accept_confidence is not None:
            return {"accept_confidence": self.accept_confidence}
        return self.policy_parameters


class NodeConfig(ModelRun):
    """The fields that satellites and ground stations have in common.

    Args:
        name: the node's name.
        management: address of the management broker.
        clock: "shared" where the run reads the same CLOCK_MONOTONIC; "own" on another machine, whose clock is
            then compared over the management plane.
        management_lost_after_s: time without the management broker after which the node takes the run for
            dead and ends.
        measure_power: whether to find the board's power sensor and report the energy of each answer: this
            machine's own work, without the delays that `profile` adds.
        power_sensor: the sensor to use where the kernel has no driver for it; None: search for one.
        shared_models: Unix socket of the process that holds the models of several nodes (nodes/vlm/shared);
            None: the node loads its model itself.
        model_socket: Unix socket that leads to the model's server where the program's own network does not.
        answer_memory: folder of answers that need not be computed again (nodes/vlm/shared/memory.py); needs
            `shared_models`, and a `profile` that says how long they take.
    """

    name: Name
    management: BrokerAddress
    clock: Literal["shared", "own"] = "shared"
    management_lost_after_s: float = Field(default=60.0, gt=0, allow_inf_nan=False)
    measure_power: bool = False
    power_sensor: I2cPowerSensor | None = None
    shared_models: Path | None = None
    model_socket: Path | None = None
    answer_memory: Path | None = None


class SatelliteConfig(NodeConfig, PolicyChoice):
    """Configuration of a satellite: camera, compact model, outbox and ground stations.

    Args:
        stations: ground stations; the satellite sends to the first of them that it has contact with.
        frames: images to capture.
        outbox: folder of items that wait for a contact.
        outbox_limit_bytes: largest size of the outbox.
        heartbeat_s: time between two heartbeats during contact; 0 means none.
        contact_ends_s: scenario times at which contacts will end. The satellite then starts no item that it
            cannot send in time. Without them an item that is cut off continues in the next contact.
        rate_bit_s: planning rate of the downlink, bits in a second of scenario time; it sets the
            size of chunks.
        queue_every_s: how often the satellite reports its queue if that has changed, in scenario time; None:
            never. A scheduler of dishes may depend on it.
        damaged_from: folder of the model of which `model` is a damaged copy; the confidence network was
            trained for that one.
        tasks: folder of tasks from the ground and of what they need; None: the satellite takes none.
        frames_kept_bytes: size of the captured images that it keeps for questions that come up later; new
            ones displace the oldest.
        power: its power system; None: power without limit.
        sunlight: what its solar panels give; set with `power`.
    """

    stations: list[Station] = Field(min_length=1)
    frames: list[Frame] = Field(default_factory=list)
    outbox: Path
    outbox_limit_bytes: Limit = 8 << 30
    heartbeat_s: float = Field(default=5.0, ge=0, allow_inf_nan=False)
    contact_ends_s: list[float] = Field(default_factory=list)
    rate_bit_s: float = Field(gt=0, allow_inf_nan=False)
    queue_every_s: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    damaged_from: str | None = None
    tasks: Path | None = None
    frames_kept_bytes: int = Field(default=FRAMES_KEPT_BYTES, ge=0)
    power: Power | None = None
    sunlight: Sunlight | None = None

    @model_validator(mode="after")
    def _power_and_sunlight(self) -> SatelliteConfig:
        if (self.power is None) != (self.sunlight is None):
            raise ValueError("set power and sunlight, or neither")
        return self

    @model_validator(mode="after")
    def _unique_stations(self) -> SatelliteConfig:
        names = [station.name for station in self.stations]
        if len(set(names)) < len(names):
            raise ValueError("two stations have the same name; every station needs its own")
        return self

    @model_validator(mode="after")
    def _unique_frames(self) -> SatelliteConfig:
        seen: set[str] = set()
        for frame in self.frames:
            if frame.frame in seen:
                raise ValueError(f"frame {frame.frame!r} appears twice; every frame needs its own name")
            seen.add(frame.frame)
        return self


class GroundConfig(NodeConfig):
    """Configuration of a ground station: broker, regular model and inbox.

    Args:
        broker: the station's own broker.
        inbox: folder of received items. Several stations may share it: an interrupted transfer then resumes
            at the next one.
        inbox_limit_bytes: largest size of the inbox.
        patience_s: scenario seconds without a further piece of a message of regions, after which it is
            answered from those that have come; None: it is answered when all have come.
        uplink: folder of tasks that wait for their satellites, of this program alone; None: it sends none.
        uplink_bit_s: planning rate of the uplinks, bits in a second of scenario time.
    """

    broker: BrokerAddress
    inbox: Path
    inbox_limit_bytes: Limit = 64 << 30
    patience_s: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    uplink: Path | None = None
    uplink_bit_s: float = Field(default=250e3, gt=0, allow_inf_nan=False)


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
        raise ConfigError(f"{path}: {first_problem(error, kind)}") from error


def check_images(config: SatelliteConfig, path: Path) -> None:
    """Check that every frame's image is a file. Raises ConfigError."""
    for frame in config.frames:
        if not frame.image.is_file():
            raise ConfigError(f"{path}: frame {frame.frame!r}: image {frame.image} is not a file")


def check_ca_files(addresses: Iterable[BrokerAddress | Station], path: Path) -> None:
    """Check that every `ca_file` is a file. Raises ConfigError."""
    for address in addresses:
        if address.ca_file is not None and not address.ca_file.is_file():
            raise ConfigError(f"{path}: ca_file {address.ca_file} is not a file")


def first_problem(error: ValidationError, kind: type[BaseModel]) -> str:
    """Return the first problem in words, and the number of further ones."""
    problems = problems_of(error)
    first = error.errors()[0]
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    at_top = first["type"] == "extra_forbidden" and len(first["loc"]) == 1
    known = f"; known fields: {', '.join(kind.model_fields)}" if at_top else ""
    return f"{problems[0]}{known}{more}"
