"""The error tree in nodes/errors.py agrees with the code."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import nodes.errors

ROOT = Path(nodes.errors.__file__).parent
_DRAWN = re.compile(r"(?:│   |    )*(?:[├└]── )?(\w+)(?: \((\w+)\))?")


def drawn() -> dict[str, set[str]]:
    """Return the bases of each error in the drawing."""
    bases: dict[str, set[str]] = {}
    above: list[str] = []
    for line in (nodes.errors.__doc__ or "").splitlines():
        if not line.startswith("    "):
            continue
        match = _DRAWN.match(line[4:])
        assert match, line
        depth = match.start(1) // 4
        above[depth:] = [match[1]]
        if depth:
            bases[match[1]] = {above[depth - 1], *filter(None, [match[2]])}
    return bases


def in_code() -> dict[str, set[str]]:
    """Return the bases of each public error that a module of `nodes` defines."""
    bases: dict[str, set[str]] = {}
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and node.name.endswith("Error") and node.name[0] != "_":
                bases[node.name] = {ast.unparse(base) for base in node.bases}
    return bases


def test_the_drawing_is_complete() -> None:
    assert drawn() == {name: bases for name, bases in in_code().items() if name != "NodeError"}


@pytest.mark.parametrize(
    ("name", "exit_code"),
    [("ModelError", 2), ("ServerUnavailableError", 2), ("ImageError", 2), ("AskError", 1)],
)
def test_errors_for_users_have_an_exit_code(name: str, exit_code: int) -> None:
    assert getattr(nodes.errors, name).exit_code == exit_code


def test_the_module_needs_the_standard_library_only() -> None:
    source = ast.parse((ROOT / "errors.py").read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(source) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert [ast.unparse(node) for node in imports] == ["from __future__ import annotations"]
