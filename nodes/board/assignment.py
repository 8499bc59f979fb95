"""Agent configuration, a run's assignment, and the node configuration made from both."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from nodes.contract.board import FILE_PREFIX, AgentConfig, Assignment
from nodes.contract.config import ConfigError, first_problem
from nodes.contract.files import is_policy_file
from nodes.errors import ModelError
from nodes.runtime.mqtt import tls_context
from nodes.vlm.openai import is_server, parse_address

# Of a confidence network (nodes/onboard/confidence.py). Fetched files get no other names, so that none is
# taken for a program or a pickle.
_ON_BOARD = ("127.0.0.1", "::1", "localhost")
DATA_SUFFIXES = (".json", ".safetensors")


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
        ConfigError: the configuration refers to a file that the assignment's `files` do not list, or it
            contains code that the agent does not allow.
        OSError: a folder cannot be created.
    """
    check_code(assignment, agent)
    config: dict[str, Any] = _with_paths(assignment.config, file_paths)
    if isinstance(network := config.get("confidence"), dict):
        config["confidence"] = str(_folder_of(network, run_folder / "confidence"))
    if isinstance(policy := config.get("policy"), dict):
        (name,) = policy
        config["policy"] = str(_folder_of(policy, run_folder / "policy") / Path(name).name)
    management = agent.management.model_copy(update={"access": assignment.access})
    box = "outbox" if assignment.role == "satellite" else "inbox"
    return {
        **config,
        box: str(run_folder / "kept"),
        "model": _model(str(config.get("model", "")), agent.models),
        "management": management.model_dump(mode="json", exclude_none=True),
        "management_lost_after_s": assignment.heartbeat_lapse_s,
        "clock": "own",
        "measure_power": agent.power,
        "power_sensor": None if agent.power_sensor is None else agent.power_sensor.model_dump(),
    }


def check_code(assignment: Assignment, agent: AgentConfig) -> None:
    """Check that an assignment contains no code, unless the board's owner allows it.

    Raises:
        ConfigError: it does; the text is one line.
    """
    config = assignment.config
    network, policy = config.get("confidence"), config.get("policy")
    for name in network if isinstance(network, dict) else ():
        if Path(name).suffix not in DATA_SUFFIXES:
            raise ConfigError(f"assignment: {name!r} is no file of a confidence network")
    if isinstance(policy, dict) and not (len(policy) == 1 and all(map(is_policy_file, policy))):
        raise ConfigError("assignment: policy is neither a name nor one Python file")
    code = next(iter(policy)) if isinstance(policy, dict) else str(policy)
    if is_policy_file(code) and not agent.allow_code:
        name = Path(code).name
        raise ConfigError(
            f"policy file {name!r} is code, which this board does not take from a run; use a policy of "
            'nodes/policies, or set "allow_code": true in agent.json on the board and restart its agent'
        )


def _model(name: str, models: Path | None) -> str:
    """Return a folder on this board, or the address of a server on it.

    Raises:
        ConfigError: The server is elsewhere.
    """
    if not is_server(name):
        return str(model_folder(name, models))
    try:
        host = urlsplit(parse_address(name).url).hostname
    except ModelError as error:
        raise ConfigError(f"assignment: model: {error}") from error
    if host not in _ON_BOARD:
        raise ConfigError(
            f"assignment: model: {name} is not on this board: start the server here, at {_ON_BOARD[0]}"
        )
    return name


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
    try:
        tls_context(config.management.ca_file, config.management.ca_pem)
    except OSError as error:
        raise ConfigError(f"{path}: management: {error}") from error
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
