"""The public API: every name is there, and a name costs its import only when it is used."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import traces

HEAVY = ("numpy", "skyfield", "sgp4", "matplotlib", "pandas")


def loaded_after(code: str) -> set[str]:
    """Return the heavy packages that a fresh interpreter has loaded after `code`."""
    tell = f"import sys; print(*(name for name in {HEAVY} if name in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{tell}"], capture_output=True, text=True, check=True, timeout=120
    )
    return set(done.stdout.split())


def imported_for_type_checkers() -> set[str]:
    tree = ast.parse(Path(traces.__file__ or "").read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    return {
        f"{node.module}.{alias.name}"
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


@pytest.mark.parametrize("name", traces.__all__)
def test_a_public_name_is_there_and_documented(name):
    value = getattr(traces, name)
    assert name in dir(traces)
    if callable(value):
        assert value.__doc__


def test_people_type_checkers_and_the_interpreter_see_the_same_names():
    lazily = {f"{module}.{name}" for name, module in traces._MODULE_OF.items()}
    assert imported_for_type_checkers() == lazily
    assert sorted(traces._MODULE_OF) == sorted(traces.__all__)
    assert len(set(traces.__all__)) == len(traces.__all__)


def test_no_public_name_hides_a_module():
    modules = {path.stem for path in Path(traces.__file__ or "").parent.iterdir()}
    assert not modules & set(traces.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'traces' has no attribute 'read_trase'"):
        _ = traces.read_trase


def test_importing_the_package_loads_nothing_heavy():
    assert loaded_after("import traces; dir(traces)") == set()
    assert loaded_after("from traces import parse_rate_bit_s, parse_utc, TraceInputError") == set()


def test_a_trace_needs_numpy_alone():
    assert loaded_after("from traces import Trace, read_trace, write_trace") == {"numpy"}


def test_the_example_of_the_package_works(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    doc = traces.__doc__ or ""
    exec("\n".join(line[4:] for line in doc.splitlines() if line.startswith("    ")), {})  # noqa: S102
    assert traces.read_trace("pass.csv").contacts()
