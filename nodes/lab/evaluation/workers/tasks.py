"""What a worker does. It holds the models, which load with the first task that needs them."""

from __future__ import annotations

import hashlib
import pickle
import platform
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path

import nodes
from nodes.data.pairs import Pair
from nodes.errors import DataError, ModelError
from nodes.lab.evaluation.cells import Cell, Setting, replay_cell
from nodes.lab.evaluation.evaluated_pairs import EvaluatedPair
from nodes.lab.evaluation.event_model.replay import ReplayedPair
from nodes.lab.evaluation.outcomes import Outcomes
from nodes.policies import Decision

GroundRequest = tuple[Pair, Decision, Sequence[float]]

_outcomes: Outcomes | None = None


def begin(outcomes: Outcomes) -> None:
    """Make this process a worker."""
    global _outcomes  # noqa: PLW0603 - state of a worker between its tasks
    if _outcomes is not outcomes:
        _outcomes = outcomes
        _unpickled.cache_clear()


def begin_elsewhere(outcomes: Outcomes, code: str) -> None:
    """Make this process a worker on a machine that may differ from the one that the evaluation runs on.

    Args:
        outcomes: Outcomes of both models.
        code: What `code_digest` returns where the evaluation runs.

    Raises:
        ModelError: A model or this package is missing here or differs.
    """
    if code_digest() != code:
        raise ModelError(
            f"{platform.node()} has another version of this package: install the same one on all machines"
        )
    try:
        outcomes.check_models()
    except ModelError as error:
        raise ModelError(f"{platform.node()}: {error}") from None
    begin(outcomes)


@cache
def code_digest() -> str:
    """Return a hash of the modules of `nodes`."""
    digest = hashlib.sha256()
    root = Path(nodes.__file__).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def compute_onboard(pair: Pair) -> None:
    """Compute the compact model's outcome for a pair, into the cache."""
    _of_worker().onboard(pair)


def compute_ground(request: GroundRequest) -> None:
    """Compute the regular model's outcome for a decision, into the cache."""
    _of_worker().ground(*request)


def compute_cell(cell: Cell) -> list[ReplayedPair]:
    """Replay a cell.

    Raises:
        DataError: The images on this machine differ.
    """
    try:
        setting, evaluated_pairs = _unpickled(cell.setting)
    except DataError as error:
        raise DataError(f"{platform.node()}: {error}") from None
    return replay_cell(setting, evaluated_pairs, cell)


@lru_cache(maxsize=1)
def _unpickled(setting: bytes) -> tuple[Setting, list[EvaluatedPair]]:
    made: Setting = pickle.loads(setting)  # noqa: S301 - from the evaluation that started this worker
    return made, made.evaluated_pairs(_of_worker())


def _of_worker() -> Outcomes:
    assert _outcomes is not None  # noqa: S101 - `begin` was called
    return _outcomes
