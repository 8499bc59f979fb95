"""Public names of `nodes` and `nodes.policies`: each resolves, and importing them loads nothing heavy."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import nodes
import nodes.policies

SOURCE = ast.parse(Path(nodes.__file__).read_text(encoding="utf-8"))
HEAVY = {"torch", "transformers", "numpy", "PIL", "pydantic", "rich", "matplotlib"}


@pytest.mark.parametrize("name", nodes.__all__)
def test_every_public_name_resolves(name: str) -> None:
    assert getattr(nodes, name) is not None
    assert name in dir(nodes)


@pytest.mark.parametrize("name", nodes.policies.__all__)
def test_every_name_of_policies_resolves(name: str) -> None:
    assert getattr(nodes.policies, name) is not None


def test_type_checkers_see_the_names_that_are_imported_on_use() -> None:
    guard = next(node for node in SOURCE.body if isinstance(node, ast.If))
    seen = {
        alias.name: node.module
        for node in guard.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == nodes._MODULE_OF
    assert sorted(seen) == sorted(nodes.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'nodes' has no attribute 'load_modell'"):
        _ = nodes.load_modell


def loaded_by(program: str) -> list[str]:
    program += "; import sys; print(*sorted(sys.modules))"
    return subprocess.check_output([sys.executable, "-c", program], text=True).split()


def test_importing_the_package_loads_none_of_its_modules() -> None:
    loaded = loaded_by("import nodes")
    assert HEAVY.isdisjoint(loaded)
    assert [name for name in loaded if name.partition(".")[0] == "nodes"] == ["nodes"]


def test_the_names_that_a_scenario_or_a_policy_needs_load_nothing_heavy() -> None:
    program = "from nodes import COMPACT, EO_MINI, FIRST_LIGHT, REGULAR; import nodes.policies"
    assert HEAVY.isdisjoint(loaded_by(program))


def test_importing_load_model_loads_no_torch() -> None:
    assert {"torch", "transformers"}.isdisjoint(
        loaded_by("from nodes import load_model, open_image, connect")
    )
