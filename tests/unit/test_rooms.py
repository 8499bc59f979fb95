"""The house rules that import-linter does not check: sizes of rooms, and imports in circles."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import ROOT

PACKAGES = ("testbed", "nodes", "traces")
MODULES_MAX = 14


def test_no_folder_holds_more_modules_than_a_reader_can_scan() -> None:
    crowded = {
        str(folder.relative_to(ROOT)): len(modules)
        for package in ("testbed", "nodes")
        for folder in [ROOT / package, *(ROOT / package).rglob("*/")]
        if len(modules := list(folder.glob("*.py"))) > MODULES_MAX
    }
    assert not crowded


def test_the_testbed_itself_holds_its_public_api_and_its_errors_only() -> None:
    assert {path.name for path in (ROOT / "testbed").glob("*.py")} == {"__init__.py", "errors.py"}


@pytest.mark.parametrize("package", PACKAGES)
def test_no_imports_go_in_circles_not_even_inside_functions(package: str) -> None:
    imports = {module: set(_imported(module, path)) for module, path in _modules(package).items()}
    assert not _circle(imports)


def _modules(package: str) -> dict[str, Path]:
    found = {}
    for path in (ROOT / package).rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def _imported(module: str, path: Path) -> Iterator[str]:
    """Yield the modules of the same package that a module imports anywhere, but for type checkers."""
    modules = _modules(module.partition(".")[0])
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = {
        id(node)
        for guard in ast.walk(tree)
        if isinstance(guard, ast.If) and ast.unparse(guard.test) == "TYPE_CHECKING"
        for node in ast.walk(guard)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        names: list[str] = []
        if isinstance(node, ast.ImportFrom) and node.module is not None and node.level == 0:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            target = name if name in modules else name.rpartition(".")[0]
            if target in modules and target != module:
                yield target


def _circle(imports: dict[str, set[str]]) -> list[str]:
    """Return the modules of one circle of imports, or nothing."""
    done: set[str] = set()

    def visit(module: str, way: list[str]) -> list[str]:
        if module in way:
            return [*way[way.index(module) :], module]
        if module in done:
            return []
        for target in sorted(imports.get(module, ())):
            if circle := visit(target, [*way, module]):
                return circle
        done.add(module)
        return []

    for module in sorted(imports):
        if circle := visit(module, []):
            return circle
    return []
