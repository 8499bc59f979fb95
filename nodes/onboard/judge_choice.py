"""The judge of a satellite: as configured, or with a confidence network that came up."""

from __future__ import annotations

import base64
import binascii

from nodes.contract.config import SatelliteConfig
from nodes.contract.files import network_sha256
from nodes.contract.messages import NetworkTask
from nodes.errors import ConfidenceError
from nodes.onboard.judge import Judge
from nodes.vlm.folder import fingerprint
from nodes.vlm.openai import is_server


def judge_of(config: SatelliteConfig) -> Judge:
    """Return the judge with the configured confidence network; without one if none is configured.

    Raises:
        ConfidenceError: the network was trained for other weights than the model's.
    """
    if config.confidence is None:
        return Judge()
    _check_hidden_states(config, str(config.confidence))
    judge = Judge.load(config.confidence)
    _check_weights(judge, config, str(config.confidence), required=False)
    return judge


def judge_sent_up(task: NetworkTask, config: SatelliteConfig, configured: Judge) -> Judge:
    """Return the judge with a network that came up.

    Args:
        task: the network, with its files.
        config: of the satellite.
        configured: the judge that it was configured with.

    Raises:
        ConfidenceError: the network is damaged, or cannot work with the satellite's model.
    """
    name = f"network {task.name}"
    _check_hidden_states(config, name)
    try:
        files = {file: base64.b64decode(text, validate=True) for file, text in (task.files or {}).items()}
    except binascii.Error as error:
        raise ConfidenceError(f"{name} is not in base64: {error}") from error
    if network_sha256(files) != task.sha256:
        raise ConfidenceError(f"{name} has another checksum than it was sent with")
    judge = Judge.of_files(files, name)
    _check_weights(judge, config, name, required=True)
    assert judge.network is not None  # noqa: S101  # of files, there is one
    judge.network.check(like=configured.network)
    return judge


def _check_hidden_states(config: SatelliteConfig, name: str) -> None:
    """Check that the satellite's model gives what a network needs. Raises ConfidenceError."""
    if is_server(config.model):
        raise ConfidenceError(
            f"{name}: {config.model} gives no hidden states, which a network needs: leave it out, so that "
            "policies use the probabilities of the tokens"
        )


def _check_weights(judge: Judge, config: SatelliteConfig, name: str, *, required: bool) -> None:
    """Check that a network was trained for the satellite's model; one without a note passes if not required.

    Raises:
        ConfidenceError: it was not.
    """
    trained_for = judge.network.about.get("weights") if judge.network is not None else None
    if trained_for is None and not required:
        return
    if trained_for != fingerprint(config.damaged_from or config.model):
        raise ConfidenceError(
            f"{name} was trained for other weights than those of {config.model}: train it again"
        )
