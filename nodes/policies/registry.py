"""Finds a policy by its name or by the path of its file."""

from __future__ import annotations

import difflib
import importlib.util
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import Field, fields, is_dataclass
from functools import partial
from numbers import Real
from pathlib import Path
from typing import Any

from nodes.contract.files import is_policy_file
from nodes.failures import named, where_of
from nodes.policies.baselines import (
    Cascade,
    GraceTwoTests,
    GroundOnly,
    GroundOnlyDownsampled,
    OffloadAfter,
    Oracle,
    SatelliteOnly,
    Serval,
    TwoThreshold,
)
from nodes.policies.rules import (
    GroundOnlyFit,
    GroundOnlyNewest,
    GroundOnlyQuality,
    KindLookup,
    OffloadAfterContact,
    TokenRegions,
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
    "grace-two-tests": GraceTwoTests,
    "serval": Serval,
    "token-regions": TokenRegions,
    "kind-lookup": KindLookup,
    "offload-after-contact": OffloadAfterContact,
    "ground-only-newest": GroundOnlyNewest,
    "ground-only-fit": GroundOnlyFit,
    "ground-only-quality": GroundOnlyQuality,
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
    """Create a policy.

    Args:
        name: Name of a policy, or path of a file with a class `Policy`.
        parameters: Values of its fields; lists are converted to tuples.

    Returns:
        The policy.

    Raises:
        ValueError: There is no policy of this name, the file defines none, a parameter is unknown or not a
            number, or the policy cannot be created. The text is one line.
    """
    make = _from_file(Path(name)) if is_policy_file(name) else POLICIES.get(name)
    if make is None:
        near = difflib.get_close_matches(name, POLICIES, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ValueError(
            f"unknown policy {name!r}: {hint}policies: {', '.join(POLICIES)}, or the path of a file"
        )
    values = {key: tuple(v) if isinstance(v, list) else v for key, v in (parameters or {}).items()}
    kind = make.func if isinstance(make, partial) else make
    known = {field.name: field for field in fields(kind)} if is_dataclass(kind) else dict.fromkeys(values)
    if unknown := sorted(set(values) - set(known)):
        has = ", ".join(sorted(known)) or "none"
        raise ValueError(f"policy {name} has no parameter {', '.join(unknown)}; its parameters: {has}")
    for key, value in values.items():
        if wanted := _unfit(known[key], value):
            raise ValueError(f"policy {name}: parameter {key} is {value!r:.60}, not {wanted}")
    try:
        return make(**values)
    except Exception as error:  # a user's class may raise anything
        place = f" ({where})" if (where := where_of(error)) else ""
        raise ValueError(f"policy {name} cannot be created: {named(error)}{place}") from error


def _unfit(field: Field[Any] | None, value: Any) -> str | None:
    """Return what a parameter has to be if its value differs in kind from its default; else None.

    A string would fail at each frame, or never exceed a threshold; NaN compares false with everything.
    """
    default = None if field is None else field.default
    if isinstance(default, bool):
        return None if isinstance(value, bool) else "true or false"
    if isinstance(default, Real) or (field is not None and field.type in ("float", "int", float, int)):
        return None if _is_number(value) else "a number"
    if isinstance(default, tuple) and all(map(_is_number, default)):
        fits = isinstance(value, tuple) and all(map(_is_number, value))
        return None if fits else "a list of numbers"
    return None


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and not math.isnan(value)


def flying_policy(name: str, parameters: Mapping[str, Any] | Path) -> FramePolicy:
    """Create a policy for a satellite.

    Args:
        name: As for `policy_named`.
        parameters: Values of its fields, or a JSON file with values by policy name, such as the
            `policies.json` of an evaluation. Fields that are not in the file keep their defaults.

    Returns:
        The policy.

    Raises:
        ValueError: As for `policy_named`; or the file is invalid, or the policy is the oracle.
    """
    values = parameters_in(parameters, name) if isinstance(parameters, Path) else parameters
    policy = policy_named(name, values)
    if isinstance(policy, Oracle):
        raise ValueError("the oracle is an upper bound of evaluations and cannot run on a satellite")
    return policy


def parameters_in(path: Path, name: str) -> dict[str, Any]:
    """Read a policy's parameters from a JSON file; empty if the file does not name the policy.

    Raises:
        ValueError: The file is invalid.
    """
    try:
        by_name = json.loads(path.read_text(encoding="utf-8"))
        parameters = by_name.get(name, {})
        if not isinstance(parameters, dict):
            raise TypeError(f"{name} is not an object")
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} does not contain parameters by policy name: {error}") from error
    return parameters


def _from_file(path: Path) -> Callable[..., FramePolicy]:
    spec = importlib.util.spec_from_file_location(f"policy_{path.stem}", path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise ValueError(f"policy file {path} does not exist: check the path")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # a user's file may raise anything
        place = f" ({where})" if (where := where_of(error)) else ""
        raise ValueError(f"{path} cannot be used: {named(error)}{place}") from error
    make = getattr(module, "Policy", None)
    if not callable(make) or not callable(getattr(make, "decide", None)):
        raise ValueError(
            f"{path} defines no class Policy with a method decide: see nodes/policies/__init__.py"
        )
    return make  # type: ignore[no-any-return]
