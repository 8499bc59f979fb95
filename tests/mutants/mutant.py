"""A mutant: one small fault put into one place of the product, and the tests that must notice it."""

from __future__ import annotations

import ast
import functools
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.support import ROOT

LIST = Path(__file__).with_name("mutants.json")


class GoneError(Exception):
    """The text that a mutant replaces is not in its file, or is there more than once."""


@dataclass(frozen=True)
class Mutant:
    """One mutant.

    Args:
        file: the file, below the root of the repository.
        where: function, class or method that holds the text, such as "Outbox.add_image"; "" for the file.
        old: text that is there once.
        new: text that replaces it.
        kind: what the fault is, in a word or two.
        tests: the tests that must fail, as arguments of pytest.
        survives: why no test can fail on it; "" for a mutant that is to be killed.
    """

    file: str
    where: str
    old: str
    new: str
    kind: str
    tests: str
    survives: str = ""

    def __str__(self) -> str:
        return f"{self.file} {self.where}: {self.kind}: {self.old.strip()!r} -> {self.new.strip()!r}"

    def applied(self, root: Path = ROOT) -> str:
        """Return the file's text with the fault.

        Raises:
            GoneError: the text is not there once.
        """
        text = (root / self.file).read_text(encoding="utf-8")
        begin, end = extent(text, self.where)
        within = text[begin:end]
        if within.count(self.old) != 1:
            raise GoneError(
                f"{self}\nthe text is {within.count(self.old)} times in {self.where or 'the file'}: "
                "adapt or remove the mutant in tests/mutants/mutants.json"
            )
        return text[:begin] + within.replace(self.old, self.new) + text[end:]


def read_list(path: Path = LIST) -> list[Mutant]:
    """Return the kept mutants."""
    return [Mutant(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))]


def write_list(mutants: list[Mutant], path: Path = LIST) -> None:
    """Keep mutants, sorted."""
    entries = [asdict(mutant) for mutant in sorted(mutants, key=lambda m: (m.file, m.where, m.old, m.new))]
    path.write_text(json.dumps(entries, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def extent(text: str, where: str) -> tuple[int, int]:
    """Return the first and the last position of a function, class or method; of the file for "".

    Raises:
        GoneError: there is none of this name.
    """
    found = _extents(text).get(where)
    if found is None:
        raise GoneError(f"there is no {where}: adapt or remove the mutant in tests/mutants/mutants.json")
    return found


@functools.lru_cache(maxsize=4)
def _extents(text: str) -> dict[str, tuple[int, int]]:
    lines = text.splitlines(keepends=True)
    found = {"": (0, len(text))}
    for name, node in definitions(ast.parse(text)):
        starts = [node.lineno, *(decorator.lineno for decorator in node.decorator_list)]
        begin, end = sum(map(len, lines[: min(starts) - 1])), sum(map(len, lines[: node.end_lineno]))
        found.setdefault(name, (begin, end))
    return found


Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def definitions(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, Definition]]:
    """Yield each definition with its dotted name."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, Definition):
            yield prefix + node.name, node
            yield from definitions(node, f"{prefix}{node.name}.")
        else:
            yield from definitions(node, prefix)
