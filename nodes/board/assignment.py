"""The agent's configuration, and what a run asks of it; both are checked field by field."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from nodes.contract.config import BrokerAddress, ConfigError, MqttAccess, Name, Strict, first_problem

FILE_PREFIX = "sha256:"  # a value of a node's configuration that stands for a fetched file

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
RunId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]


class AgentConfig(Strict):
    """A board's agent.

    Args:
        board: the board's name in the inventory.
        management: where runs have their management broker; `access` is the board's own, the same in every
        run. folder: what runs leave: fetched files, outboxes, logs. models: where models lie, each in a
        folder of its own; None for those that ship. power: look for a power sensor, and say what each answer
        took.
    """

    board: Name
    management: BrokerAddress
    folder: Path
    models: Path | None = None
    power: bool = True


class Assignment(Strict):
    """What a run asks of a board.

    Args:
        run: the run's name; heartbeats carry it.
        role: which program.
        config: that program's configuration (nodes/contract/config.py) without what the agent fills in:
            `management`, `clock`, `management_lost_after_s`, `outbox` or `inbox`. A text "sha256:HEX" in it
            stands for the path of that file; `confidence` is a folder, given as its files' names and such
            texts. `model` is a folder's last name under the agent's `models` or among the shipped ones, a
            path on the board, or a hub name.
        access: the node's account at the management broker, for this run.
        files: size in bytes of each file to be fetched, by its SHA-256.
        heartbeat_lapse_s: so long without a heartbeat means that the run has died.
    """

    run: RunId
    role: Literal["satellite", "ground"]
    config: dict[str, Any]
    access: MqttAccess | None = None
    files: dict[Sha256, Annotated[int, Field(ge=0)]] = Field(default_factory=dict)
    heartbeat_lapse_s: float = Field(default=10.0, gt=0, le=3600, allow_inf_nan=False)

    def node_config(
        self, agent: AgentConfig, run_folder: Path, file_paths: dict[str, Path]
    ) -> dict[str, Any]:
        """The node's whole configuration, and the folders that it names.

        Raises ConfigError for a file that `files` does not name, OSError.
        """
        config: dict[str, Any] = _with_paths(self.config, file_paths)
        if isinstance(network := config.get("confidence"), dict):
            config["confidence"] = str(_folder_of(network, run_folder / "confidence"))
        management = agent.management.model_copy(update={"access": self.access})
        kept = {"outbox" if self.role == "satellite" else "inbox": str(run_folder / "kept")}
        return {
            **config,
            **kept,
            "model": str(model_folder(str(config.get("model", "")), agent.models)),
            "management": management.model_dump(mode="json", exclude_none=True),
            "management_lost_after_s": self.heartbeat_lapse_s,
            "clock": "own",
            "measure_power": agent.power,
        }


def model_folder(name: str, models: Path | None) -> str | Path:
    """Where a model of a run lies on this board; `name` as it is where no such folder is known."""
    if Path(name).is_dir():
        return name
    shipped = Path(__file__).parent.parent / "models"
    for folder in (models, shipped):
        if folder is not None and (found := folder / Path(name).name).is_dir():
            return found
    return name


def read_agent_config(path: Path) -> AgentConfig:
    """Read and check the agent's file. Raises ConfigError: one line."""
    try:
        config = AgentConfig.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    except ValidationError as error:
        raise ConfigError(f"{path}: {first_problem(error, AgentConfig)}") from error
    if (ca_file := config.management.ca_file) is not None and not ca_file.is_file():
        raise ConfigError(f"{path}: ca_file {ca_file} is not a file")
    return config


def read_assignment(payload: bytes) -> Assignment:
    """Check an assignment. Raises ConfigError: one line."""
    try:
        return Assignment.model_validate_json(payload)
    except ValidationError as error:
        raise ConfigError(f"assignment: {first_problem(error, Assignment)}") from error


def _folder_of(paths: dict[str, str], folder: Path) -> Path:
    """Lay fetched files, by the names that they should have, into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, path in paths.items():
        link = folder / Path(name).name
        link.unlink(missing_ok=True)
        link.symlink_to(path)
    return folder


def _with_paths(value: Any, paths: dict[str, Path]) -> Any:
    """`value` with each "sha256:HEX" replaced by the file's path."""
    if isinstance(value, dict):
        return {key: _with_paths(item, paths) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_paths(item, paths) for item in value]
    if isinstance(value, str) and value.startswith(FILE_PREFIX):
        digest = value.removeprefix(FILE_PREFIX)
        if digest not in paths:
            raise ConfigError(f"assignment: its files do not name {value}")
        return str(paths[digest])
    return value
