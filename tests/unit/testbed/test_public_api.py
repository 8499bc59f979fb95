"""The public names of `testbed`: each resolves, and importing the package loads nothing heavy."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import testbed

SOURCE = ast.parse(Path(testbed.__file__).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", testbed.__all__)
def test_every_public_name_resolves(name: str) -> None:
    assert getattr(testbed, name).__name__ == name
    assert name in dir(testbed)


def test_type_checkers_see_the_names_that_are_imported_on_use() -> None:
    guard = next(node for node in SOURCE.body if isinstance(node, ast.If))
    seen = {
        alias.name: node.module
        for node in guard.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == testbed._MODULE_OF
    assert sorted(seen) == list(testbed.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'testbed' has no attribute 'Senario'"):
        _ = testbed.Senario


def test_importing_the_package_loads_none_of_its_modules() -> None:
    program = "import sys, testbed; print(*sorted(sys.modules))"
    loaded = subprocess.check_output([sys.executable, "-c", program], text=True).split()
    heavy = {"numpy", "mininet", "torch", "pydantic", "rich", "pyroute2", "scapy", "matplotlib"}
    assert heavy.isdisjoint(loaded)
    assert [name for name in loaded if name.partition(".")[0] in ("testbed", "traces", "nodes")] == [
        "testbed"
    ]


def test_a_scenario_can_be_described_without_the_network() -> None:
    program = "import sys; from testbed import Scenario, read_frames; print(*sorted(sys.modules))"
    loaded = subprocess.check_output([sys.executable, "-c", program], text=True).split()
    assert {"mininet", "torch", "pyroute2", "scapy", "matplotlib"}.isdisjoint(loaded)
