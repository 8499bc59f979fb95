"""Finds a policy by its name, or by the path of a file that holds one."""

from __future__ import annotations

import difflib
import importlib.util
import json
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any

from nodes.policies.baselines import (
    Cascade,
    GroundOnly,
    GroundOnlyDownsampled,
    OffloadAfter,
    Oracle,
    SatelliteOnly,
    TwoThreshold,
)
from nodes.policies.situation import FramePolicy
from nodes.policies.spaceverse import SpaceVerse

BASELINES: dict[str, Callable[..., FramePolicy]] = {
    "satellite-only": SatelliteOnly,
    "ground-only": GroundOnly,
    "ground-only-downsampled": GroundOnlyDownsampled,
    "offload-after": OffloadAfter,
    "cascade": Cascade,
    "two-threshold": TwoThreshold,
}
ABLATIONS: dict[str, Callable[..., FramePolicy]] = {
    "spaceverse-without-stage-0": partial(SpaceVerse, stage_0=False),
    "spaceverse-without-later-stages": partial(SpaceVerse, later_stages=False),
    "spaceverse-without-regions": partial(SpaceVerse, regions=False),
    "spaceverse-without-contact": partial(SpaceVerse, contact_aware=False),
}
POLICIES: dict[str, Callable[..., FramePolicy]] = {
    "spaceverse": SpaceVerse,
    **BASELINES,
    **ABLATIONS,
    "oracle": Oracle,
}


def policy_named(name: str, parameters: Mapping[str, Any] | None = None) -> FramePolicy:
    """Make the policy called `name`, or the class `Policy` of the file at that path.

    Args:
        parameters: values for its fields; JSON's lists are taken for tuples.

    Raises ValueError (one line) for a name that nobody has, a file that does not hold one, and for
    parameters that it does not know.
    """
    make = _from_file(Path(name)) if name.endswith(".py") else POLICIES.get(name)
    if make is None:
        near = difflib.get_close_matches(name, POLICIES, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ValueError(f"unknown policy {name!r}: {hint}known: {', '.join(POLICIES)}, or a file's path")
    given = {key: tuple(v) if isinstance(v, list) else v for key, v in (parameters or {}).items()}
    kind = make.func if isinstance(make, partial) else make
    known = {field.name for field in fields(kind)} if is_dataclass(kind) else set(given)
    if unknown := sorted(set(given) - known):
        has = ", ".join(sorted(known)) or "no parameter at all"
        raise ValueError(f"policy {name} has no {', '.join(unknown)}; it has {has}")
    return make(**given)


def flying_policy(name: str, parameters: Mapping[str, Any] | Path) -> FramePolicy:
    """Make a policy for a satellite.

    Args:
        parameters: values for its fields, or a JSON file of them by policy's name, such as the
            `policies.json` that an evaluation writes; what the file does not name has its defaults.

    Raises ValueError (one line) as `policy_named`, for a file that holds no parameters, and for the oracle.
    """
    given = parameters_in(parameters, name) if isinstance(parameters, Path) else parameters
    policy = policy_named(name, given)
    if isinstance(policy, Oracle):
        raise ValueError("the oracle is an upper bound of evaluations and cannot run on a satellite")
    return policy


def parameters_in(path: Path, name: str) -> dict[str, Any]:
    """A policy's parameters of a file; none where it does not name the policy. Raises ValueError."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        parameters = found.get(name, {})
        if not isinstance(parameters, dict):
            raise TypeError(f"{name} is no object")
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} holds no parameters by policy's name: {error}") from error
    return parameters


def _from_file(path: Path) -> Callable[..., FramePolicy]:
    spec = importlib.util.spec_from_file_location(f"policy_{path.stem}", path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise ValueError(f"no policy file {path}: check the path")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever the user's file does
        raise ValueError(f"{path} cannot be used: {type(error).__name__}: {error}") from error
    make = getattr(module, "Policy", None)
    if not callable(make) or not callable(getattr(make, "decide", None)):
        raise ValueError(f"{path} holds no class Policy with a method decide: see nodes/policies/__init__.py")
    return make  # type: ignore[no-any-return]
