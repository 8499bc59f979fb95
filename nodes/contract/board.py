"""What a run and the agent of a board tell each other; the topics are in nodes/contract/topics.py.

A node is started only while its run's heartbeat is heard, and stopped when none has come for
`Assignment.heartbeat_lapse_s`.
"""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)

from nodes.contract.config import BrokerAddress, I2cPowerSensor, MqttAccess, PlainName
from nodes.contract.strict import Strict, Text

FILE_PREFIX = "sha256:"  # begins a value of a node's configuration that stands for a fetched file
PIECE_BYTES = 128 * 1024
HEARTBEAT_S = 1.0
GONE = "gone"  # the state of an agent that has left, or was lost: its last will
RESTARTS_MAX = 3
RESTARTS_WITHIN_S = 60.0
PAUSE_S = 0.5  # before the second restart of a row, and twice as long before each further one

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
RunId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
Role = Literal["satellite", "ground"]


class ChronyReport(Strict):
    """The wall clock of a machine as its chronyd describes it.

    Args:
        reference: the time source that it follows.
        stratum: its distance from a reference clock; 0 while it follows no source.
        synchronised: whether it follows a source.
        bound_s: largest error of the wall clock if its sources are right; None while it follows no source.
        frequency_ppm: how fast the clock would run uncorrected.
        skew_ppm: bound of the frequency's error.
    """

    reference: Text
    stratum: int
    synchronised: bool
    bound_s: float | None
    frequency_ppm: float
    skew_ppm: float


class BoardFacts(Strict):
    """A board's software and free space, as its agent finds them.

    Args:
        python: version of the interpreter.
        executable: path of the interpreter.
        architecture: the processor's, e.g. "aarch64".
        kernel: release of the kernel.
        processors: number of processors; None where the kernel does not say.
        packages: version of each package that a node needs; None for a missing one.
        free_bytes: free space where the agent keeps its files.
        models: names of the models that lie on the board.
        chrony: state of the wall clock, or the reason why it is unknown.
        boot: identifier of the current boot.
        network_managers: programs that may reconfigure its interfaces; None from an older agent.
        accelerator: its accelerator in words; None: none was found.
        memory_bytes: size of its memory; None: unknown.
    """

    python: Text
    executable: Text
    architecture: Text
    kernel: Text
    processors: int | None
    packages: dict[str, Text | None]
    free_bytes: int
    models: list[Text]
    chrony: ChronyReport | Text
    boot: Text | None
    network_managers: list[Text] | None = None
    accelerator: Text | None = None
    memory_bytes: int | None = None


class AgentState(Strict):
    """What an agent says of itself; unknown fields are ignored, as are facts of another form.

    Args:
        state: what it does: "idle", "fetching", "running", "failed", "ended", GONE and others.
        reason: why it failed or ended.
        facts: the board's software and free space.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)

    state: Text = Field(min_length=1, max_length=100)
    reason: Text | None = None
    facts: BoardFacts | None = None

    @field_validator("facts", mode="wrap")
    @classmethod
    def _known_facts(cls, value: Any, read: ValidatorFunctionWrapHandler) -> Any:
        try:
            return read(value)
        except ValidationError:
            return None


class AgentConfig(Strict):
    """Configuration of a board's agent.

    Args:
        board: the board's name in the inventory.
        management: where runs have their management broker; `access` is the board's own, the same in every
            run. The authority (`ca_pem`, or `ca_file`) is required: the agent tells its password to, and
            takes work from, only a broker with a certificate of this authority for `host`.
        folder: where the agent keeps fetched files, outboxes and logs.
        models: folder of models, each in a folder of its own; None for those that ship.
        power: whether to look for a power sensor and report the energy of each answer.
        power_sensor: the sensor to use instead of searching for one.
        allow_code: whether a run may send code, i.e. a policy file, which the node then executes.
    """

    board: PlainName
    management: BrokerAddress
    folder: Path
    models: Path | None = None
    power: bool = True
    power_sensor: I2cPowerSensor | None = None
    allow_code: bool = False

    @model_validator(mode="after")
    def _verifies_runs(self) -> AgentConfig:
        if self.management.host is None or not self.management.has_authority:
            raise ValueError(
                "management has no host and authority (ca_pem) by which the agent verifies a run, like files "
                "of versions before TLS; create it again on the machine that runs the scenarios: "
                f"sudo spaceverse board agent-config {self.board}, or board deploy"
            )
        return self


class Assignment(Strict):
    """A run's request that a board be one of its nodes.

    Args:
        run: the run's name; heartbeats carry it.
        role: the node's program.
        config: that program's configuration (nodes/contract/config.py) without the fields that the agent
            fills in: `management`, `clock`, `management_lost_after_s`, `outbox` or `inbox`. A text
            "sha256:HEX" in it stands for the path of that file; `confidence` is a folder, given as its files'
            names and such texts; so is `policy` if it is a Python file. `model` is a folder's last name under
            the agent's `models` or among the shipped ones, a path on the board, or a hub name.
        access: the node's account at the management broker, for this run.
        files: size in bytes of each file to be fetched, by its SHA-256.
        heartbeat_lapse_s: time without a heartbeat after which the run counts as dead.
    """

    run: RunId
    role: Role
    config: dict[str, Any]
    access: MqttAccess | None = None
    files: dict[Sha256, Annotated[int, Field(ge=0)]] = Field(default_factory=dict)
    heartbeat_lapse_s: float = Field(default=10.0, gt=0, le=3600, allow_inf_nan=False)


class RunHeartbeat(Strict):
    """A sign of life of a run, every HEARTBEAT_S.

    Args:
        run: the run's name.
    """

    run: str


class FileRequest(Strict):
    """An agent's request for one piece of a file: PIECE_BYTES unless the file ends before.

    Args:
        sha256: identifies the file.
        offset: first byte of the piece.
    """

    sha256: str
    offset: int


GIVEN_UP = f"it died again after {RESTARTS_MAX} restarts within {RESTARTS_WITHIN_S:.0f} s"


class RestartRule:
    """When a node's program that died is started again: RESTARTS_MAX times within RESTARTS_WITHIN_S.

    The same rule holds for programs of a run and for those of a board's agent.
    """

    def __init__(self) -> None:
        self._restarts_s: deque[float] = deque()

    def pause_s(self, now_s: float) -> float | None:
        """Note a death, and return the seconds until the restart; None gives the node up.

        Args:
            now_s: CLOCK_MONOTONIC.
        """
        while self._restarts_s and now_s - self._restarts_s[0] >= RESTARTS_WITHIN_S:
            self._restarts_s.popleft()
        in_a_row = len(self._restarts_s)
        if in_a_row >= RESTARTS_MAX:
            return None
        self._restarts_s.append(now_s)
        return PAUSE_S * float(2**in_a_row - 1)
