"""Code blocks of README and docs, with the comments that control how they are tested.

A comment on the lines before a block says how it is tested:

    <!-- not run: REASON -->    no test runs the block, for this reason
    <!-- needs: root -->        the block runs only if the tests run as root
    <!-- setup                  shell commands to run before the block, invisible to readers
    ...
    -->
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support import ROOT

_FENCE = re.compile(
    r"(?P<comments>(?:^<!--(?:(?!-->).)*-->\n)*)"
    r"^(?P<indent> *)```(?P<language>[^\n]*)\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
_COMMENT = re.compile(r"<!--\s*(?P<key>not run|needs|setup)[:\s](?P<value>.*?)-->", re.DOTALL)
EXECUTABLE = frozenset({"sh", "python"})
DATA = frozenset({"json", "toml", "yaml"})
PROSE = frozenset({"text"})


@dataclass(frozen=True)
class CodeBlock:
    """One fenced block of a page.

    Attributes:
        page: path of the page, relative to the project's root.
        line: number of its opening fence, from 1.
        language: the fence's language.
        text: the block.
        not_run: reason why no test runs the block; None if a test must.
        needs_root: whether the block needs root.
        setup: shell commands to run before the block.
    """

    page: str
    line: int
    language: str
    text: str
    not_run: str | None
    needs_root: bool
    setup: str


def pages() -> list[Path]:
    """Return README, CONTRIBUTING and every page of docs/."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def code_blocks(page: Path) -> Iterator[CodeBlock]:
    """Yield the fenced blocks of a page, without the directives of the documentation's generator."""
    markdown = page.read_text(encoding="utf-8")
    for match in _FENCE.finditer(markdown):
        if match["language"].startswith("{"):
            continue
        marks = {m["key"]: m["value"].strip() for m in _COMMENT.finditer(match["comments"])}
        yield CodeBlock(
            page=str(page.relative_to(ROOT)),
            line=markdown.count("\n", 0, match.start("indent")) + 1,
            language=match["language"],
            text=match["text"],
            not_run=marks.get("not run"),
            needs_root=marks.get("needs") == "root",
            setup=marks.get("setup", ""),
        )
