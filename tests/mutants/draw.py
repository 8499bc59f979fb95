"""Draw mutants by rules from the syntax trees of packages: seeded, so that nobody has chosen the easy ones.

    .venv/bin/python -m tests.mutants.draw --seed 1 > drawn.json
    sudo .venv/bin/python -m tests.mutants.run --list drawn.json

The kept list (mutants.json) was drawn so, and has others beside that somebody has thought of.
"""

from __future__ import annotations

import argparse
import ast
import json
import random
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from tests.mutants.mutant import GoneError, Mutant, definitions
from tests.support import ROOT

FLIPPED: dict[type[ast.cmpop], str] = {
    ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "==",
    ast.In: "not in", ast.NotIn: "in", ast.Is: "is not", ast.IsNot: "is",
}  # fmt: skip
SIGNS: dict[type[ast.cmpop], str] = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
    ast.In: "in", ast.NotIn: "not in", ast.Is: "is", ast.IsNot: "is not",
}  # fmt: skip
ARITHMETIC: dict[type[ast.operator], str] = {ast.Add: "-", ast.Sub: "+", ast.Mult: "//", ast.FloorDiv: "*"}
SIGN_OF: dict[type[ast.operator], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.FloorDiv: "//"}
Fault = tuple[str, int, int, str]
"""Kind, begin and end of the replaced text, new text."""
SWAPPED = {"min": "max", "max": "min", "any": "all", "all": "any", "popleft": "pop"}
# A mutant of these is noise: what is printed, logged or only read by people.
NOT_IN = ("__str__", "__repr__", "add_parser")

UNIT, INTEGRATION = "tests/unit", "tests/integration"
BOARD_TESTS = (
    f"{UNIT}/nodes/board {INTEGRATION}/boards/test_agent.py {INTEGRATION}/boards/test_agent_strangers.py"
)
# (package or file, how many mutants, tests that are to notice them)
PACKAGES = (
    (
        "nodes/transfer",
        34,
        f"{UNIT}/nodes/transfer {INTEGRATION}/nodes/test_transfer.py "
        f"{INTEGRATION}/nodes/test_access_and_handover.py",
    ),
    ("nodes/board", 8, BOARD_TESTS),
    (
        "nodes/contract",
        12,
        f"{UNIT}/nodes/contract {UNIT}/testbed/mqtt {UNIT}/nodes/board {UNIT}/testbed/results "
        f"{UNIT}/testbed/run/test_plan.py {UNIT}/nodes/runtime {UNIT}/testbed/scenario "
        f"{INTEGRATION}/nodes/test_odd_events.py",
    ),
    (
        "testbed/mqtt",
        12,
        f"{UNIT}/testbed/mqtt {UNIT}/nodes/runtime/test_mqtt.py {INTEGRATION}/nodes/test_broker.py "
        f"{INTEGRATION}/nodes/test_management.py {INTEGRATION}/nodes/test_access_and_handover.py "
        f"{INTEGRATION}/nodes/test_odd_events.py",
    ),
    (
        "testbed/boards",
        5,
        f"{UNIT}/testbed/run/test_boards.py {UNIT}/testbed/boards/test_inventory.py "
        f"{UNIT}/testbed/boards/test_wire.py {UNIT}/testbed/boards/test_ssh.py "
        f"{INTEGRATION}/boards/test_attach.py {INTEGRATION}/boards/test_board_run.py",
    ),
    (
        "testbed/boards/machine_network",
        4,
        f"{UNIT}/testbed/boards/machine_network {INTEGRATION}/boards/test_journal.py "
        f"{INTEGRATION}/boards/test_attach.py {INTEGRATION}/boards/test_check_attachability.py",
    ),
    (
        "testbed/boards/check",
        4,
        f"{UNIT}/testbed/boards/check {INTEGRATION}/boards/test_check_attachability.py "
        f"{INTEGRATION}/boards/test_check_system.py",
    ),
    (
        "testbed/boards/deploy",
        3,
        f"{UNIT}/testbed/boards/test_agent_unit.py {UNIT}/testbed/boards/test_ssh.py "
        f"{INTEGRATION}/boards/test_deploy.py "
        f"{UNIT}/testbed/boards/test_bundle.py",
    ),
)


class Drawer:
    """Finds all mutants of one file."""

    def __init__(self, path: Path, tests: str) -> None:
        self._file = str(path.relative_to(ROOT))
        self._text = path.read_text(encoding="utf-8")
        self._lines = self._text.splitlines(keepends=True)
        self._tests = tests
        self._tree = ast.parse(self._text)

    def mutants(self) -> Iterator[Mutant]:
        """Yield those whose old text can be told apart in its function."""
        scopes = sorted(definitions(self._tree), key=lambda pair: -pair[1].lineno)
        for node in ast.walk(self._tree):
            line = getattr(node, "lineno", None)
            if line is None:
                continue
            where = next((n for n, d in scopes if d.lineno <= line <= (d.end_lineno or 0)), "")
            if where.rpartition(".")[2] in NOT_IN:
                continue
            for kind, begin, end, new in self._faults(node):
                if (made := self._told_apart(where, kind, begin, end, new)) is not None:
                    yield made

    def _told_apart(self, where: str, kind: str, begin: int, end: int, new: str) -> Mutant | None:
        """Widen the replaced text to whole lines, until it is there once in its scope."""
        for lines_before in range(4):
            from_ = self._text.rfind("\n", 0, begin) + 1
            for _ in range(lines_before):
                from_ = self._text.rfind("\n", 0, max(0, from_ - 1)) + 1
            to = self._text.find("\n", end)
            old = self._text[from_:to]
            mutant = Mutant(
                self._file, where, old, self._text[from_:begin] + new + self._text[end:to], kind, self._tests
            )
            try:
                ast.parse(mutant.applied())
            except (GoneError, SyntaxError):
                continue
            return mutant if mutant.old != mutant.new else None
        return None

    def _at(self, line: int, column: int) -> int:
        before = self._lines[line - 1].encode()[:column].decode()
        return sum(map(len, self._lines[: line - 1])) + len(before)

    def _span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        assert node.end_lineno is not None and node.end_col_offset is not None
        return self._at(node.lineno, node.col_offset), self._at(node.end_lineno, node.end_col_offset)

    def _faults(self, node: ast.AST) -> Iterator[Fault]:
        """Yield (kind, begin, end, new text)."""
        if isinstance(node, ast.stmt):
            yield from self._of_statements(node)
        if isinstance(node, ast.If | ast.While | ast.IfExp):
            begin, end = self._span(node.test)
            yield "condition removed", begin, end, "True"
            yield "condition removed", begin, end, "False"
        elif isinstance(node, ast.Compare) and len(node.ops) == 1:
            sign = type(node.ops[0])
            yield self._between("comparison", (node.left, node.comparators[0]), SIGNS[sign], FLIPPED[sign])
        elif isinstance(node, ast.BoolOp):
            begin, end = self._span(node)
            for value in node.values:
                yield "part of a condition removed", begin, end, self._source(value)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            yield "negation removed", *self._span(node), self._source(node.operand)
        elif isinstance(node, ast.Constant):
            yield from self._constants(node)
        elif isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
            yield self._between(
                "arithmetic", (node.left, node.right), SIGN_OF[type(node.op)], ARITHMETIC[type(node.op)]
            )
        elif isinstance(node, ast.Call):
            yield from self._calls(node)

    def _of_statements(self, node: ast.stmt) -> Iterator[Fault]:
        match node:
            case ast.Expr(value=ast.Call()):
                yield "call removed", *self._span(node), "pass"
            case ast.Raise():
                yield "error not raised", *self._span(node), "pass"
            case ast.AugAssign() | ast.Assign(targets=[ast.Attribute()]):
                yield "assignment removed", *self._span(node), "pass"
            case ast.Break():
                yield "break to continue", *self._span(node), "continue"
            case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant):
                yield "result replaced", *self._span(value), "None"

    def _source(self, node: ast.expr) -> str:
        begin, end = self._span(node)
        return self._text[begin:end]

    def _between(self, kind: str, ends: tuple[ast.expr, ast.expr], sign: str, other: str) -> Fault:
        """Return the fault that replaces the sign between two expressions."""
        begin, end = self._span(ends[0])[1], self._span(ends[1])[0]
        return kind, begin, end, self._text[begin:end].replace(sign, other, 1)

    def _constants(self, node: ast.Constant) -> Iterator[Fault]:
        begin, end = self._span(node)
        if isinstance(node.value, bool):
            yield "constant", begin, end, str(not node.value)
        elif isinstance(node.value, int):
            yield "off by one", begin, end, str(node.value + 1)
        elif isinstance(node.value, float):
            yield "constant", begin, end, repr(node.value * 3 + 1)

    def _calls(self, node: ast.Call) -> Iterator[Fault]:
        name = node.func
        text = name.id if isinstance(name, ast.Name) else name.attr if isinstance(name, ast.Attribute) else ""
        begin, end = self._span(node)
        if text in SWAPPED:
            last = self._span(name)[1]
            yield "swapped", last - len(text), last, SWAPPED[text]
        if text == "sorted":
            yield "order reversed", begin, end, f"list(reversed({self._text[begin:end]}))"


def draw(package: str, count: int, seed: int, tests: str) -> list[Mutant]:
    """Return `count` mutants of a package: of each kind alike, as far as there are so many.

    A package inside it that has tests of its own is left out.
    """
    drawn = random.Random(f"{seed} {package}")  # noqa: S311 - seeded, so that it can be repeated
    others = [ROOT / other for other, _, _ in PACKAGES if other.startswith(f"{package}/")]
    by_kind: dict[str, list[Mutant]] = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        if not any(path.is_relative_to(other) for other in others):
            for mutant in Drawer(path, tests).mutants():
                by_kind.setdefault(mutant.kind, []).append(mutant)
    for kind, mutants in by_kind.items():
        unique = {(m.file, m.where, m.old, m.new): m for m in mutants}
        by_kind[kind] = drawn.sample(list(unique.values()), len(unique))
    found: list[Mutant] = []
    while len(found) < count and any(by_kind.values()):
        for kind in sorted(by_kind):
            if by_kind[kind] and len(found) < count:
                found.append(by_kind[kind].pop())
    return found


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--times", type=float, default=1.0, help="so many times as many as in the kept list")
    options = parser.parse_args()
    mutants = [
        mutant
        for package, count, tests in PACKAGES
        for mutant in draw(package, round(count * options.times), options.seed, tests)
    ]
    json.dump([asdict(mutant) for mutant in mutants], sys.stdout, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
