"""No module imports itself through other modules; imports inside functions count, too."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter

import pytest

from tests.support import ROOT

PACKAGES = ("traces", "nodes", "testbed", "topologies")


def module_texts(package: str) -> dict[str, str]:
    """Return the source text of each module of a package, by its dotted name."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path.read_text()
        for path in (ROOT / package).rglob("*.py")
    }


def for_type_checkers(tree: ast.Module) -> set[ast.AST]:
    """Return the nodes within `if TYPE_CHECKING:`, which are never executed."""
    return {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for statement in node.body
        for inner in ast.walk(statement)
    }


def imports_of(name: str, text: str, modules: set[str]) -> set[str]:
    """Return the modules of the package that a module imports, anywhere in its text."""
    tree = ast.parse(text)
    skipped = for_type_checkers(tree)
    imported: set[str] = set()
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} has a relative import"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            imported |= names if names <= modules else {*names, node.module or ""}
    return (imported & modules) - {name}


def cycle_in(graph: dict[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as fault:
        return list(fault.args[1])
    return []


@pytest.mark.parametrize("package", PACKAGES)
def test_there_is_no_import_cycle(package):
    texts = module_texts(package)
    graph = {name: imports_of(name, text, set(texts)) for name, text in texts.items()}
    assert graph
    assert cycle_in(graph) == []


def test_a_cycle_hidden_in_a_function_is_found():
    modules = {"a", "b"}
    graph = {
        "a": imports_of("a", "def f():\n    from b import g\n", modules),
        "b": imports_of("b", "import a\n", modules),
    }
    assert set(cycle_in(graph)) == modules
