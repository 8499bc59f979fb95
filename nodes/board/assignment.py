"""Agent configuration, a run's assignment, and the node configuration made from both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from nodes.contract.board import FILE_PREFIX, AgentConfig, Assignment
from nodes.contract.config import ConfigError, first_problem


def node_config(
    assignment: Assignment, agent: AgentConfig, run_folder: Path, file_paths: dict[str, Path]
) -> dict[str, Any]:
    """Return the node's complete configuration, and create the folders that it names.

    Args:
        assignment: the run's assignment.
        agent: the agent's configuration.
        run_folder: folder of the node's data in this run.
        file_paths: paths of the fetched files, by SHA-256.

    Raises:
        ConfigError: the configuration refers to a file that the assignment's `files` do not list.
        OSError: a folder cannot be created.
    """
    config: dict[str, Any] = _with_paths(assignment.config, file_paths)
    if isinstance(network := config.get("confidence"), dict):
        config["confidence"] = str(_folder_of(network, run_folder / "confidence"))
    management = agent.management.model_copy(update={"access": assignment.access})
    box = "outbox" if assignment.role == "satellite" else "inbox"
    return {
        **config,
        box: str(run_folder / "kept"),
        "model": str(model_folder(str(config.get("model", "")), agent.models)),
        "management": management.model_dump(mode="json", exclude_none=True),
        "management_lost_after_s": assignment.heartbeat_lapse_s,
        "clock": "own",
        "measure_power": agent.power,
        "power_sensor": None if agent.power_sensor is None else agent.power_sensor.model_dump(),
    }


def model_folder(name: str, models: Path | None) -> str | Path:
    """Return the folder of a run's model on this board, or `name` itself if there is none."""
    if Path(name).is_dir():
        return name
    shipped = Path(__file__).parent.parent / "models"
    for folder in (models, shipped):
        if folder is not None and (candidate := folder / Path(name).name).is_dir():
            return candidate
    return name


def read_agent_config(path: Path) -> AgentConfig:
    """Read and check the agent's configuration file.

    Raises:
        ConfigError: the file cannot be used; the text is one line.
    """
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
    """Read and check an assignment.

    Raises:
        ConfigError: the payload is not an assignment; the text is one line.
    """
    try:
        return Assignment.model_validate_json(payload)
    except ValidationError as error:
        raise ConfigError(f"assignment: {first_problem(error, Assignment)}") from error


def _folder_of(paths: dict[str, str], folder: Path) -> Path:
    """Link fetched files into a folder under their original names."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, path in paths.items():
        link = folder / Path(name).name
        link.unlink(missing_ok=True)
        link.symlink_to(path)
    return folder


def _with_paths(value: Any, paths: dict[str, Path]) -> Any:
    """Return `value` with each "sha256:HEX" replaced by the path of that file."""
    if isinstance(value, dict):
        return {key: _with_paths(item, paths) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_paths(item, paths) for item in value]
    if isinstance(value, str) and value.startswith(FILE_PREFIX):
        digest = value.removeprefix(FILE_PREFIX)
        if digest not in paths:
            raise ConfigError(f"assignment: {value} is not listed in files")
        return str(paths[digest])
    return value
