"""Every command and code block in README and docs runs, or states why it cannot."""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
import yaml

import nodes
import testbed
import traces
from tests.support import ROOT
from tests.support.code_blocks import DATA, EXECUTABLE, PROSE, CodeBlock, code_blocks, pages

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PAGES = [page for page in pages() if any(block.language in EXECUTABLE for block in code_blocks(page))]
# Pages whose blocks build networks run with the tests that have the machine for themselves.
ROOT_PAGES = [
    page for page in PAGES if any(block.needs_root and not block.not_run for block in code_blocks(page))
]
OTHER_PAGES = [page for page in PAGES if page not in ROOT_PAGES]


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", pages(), ids=_name)
def test_every_block_has_a_language_that_a_test_knows(page: Path) -> None:
    unknown = [(b.line, b.language) for b in code_blocks(page) if b.language not in EXECUTABLE | DATA | PROSE]
    assert not unknown


@pytest.mark.parametrize("page", pages(), ids=_name)
def test_data_in_the_docs_can_be_read(page: Path) -> None:
    for block in code_blocks(page):
        if block.language == "json":
            json.loads(block.text)
        elif block.language == "toml":
            tomllib.loads(block.text)
        elif block.language == "yaml":
            yaml.safe_load(block.text)


@pytest.mark.long
@pytest.mark.parametrize("page", OTHER_PAGES, ids=_name)
def test_the_blocks_of_a_page_run(page: Path, tmp_path: Path) -> None:
    _run_page(page, tmp_path)


@pytest.mark.long
@pytest.mark.root
@pytest.mark.parametrize("page", ROOT_PAGES, ids=_name)
def test_the_blocks_of_a_page_that_needs_root_run(page: Path, tmp_path: Path) -> None:
    _run_page(page, tmp_path)


def _run_page(page: Path, folder: Path) -> None:
    """Run a page's blocks in their order, in one folder that looks like a checkout."""
    for name in ("topologies", "nodes", "traces", "testbed"):
        (folder / name).symlink_to(ROOT / name)
    environment = _environment(folder)
    for block in code_blocks(page):
        if block.language not in EXECUTABLE or block.not_run is not None:
            continue
        if block.setup:
            _run(["bash", "-euc", block.setup], block, folder, environment)
        command = (
            ["bash", "-euc", block.text] if block.language == "sh" else [sys.executable, "-c", block.text]
        )
        _run(command, block, folder, environment)


def _run(command: list[str], block: CodeBlock, folder: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, (
        f"{block.page}:{block.line} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    )


def _environment(folder: Path) -> dict[str, str]:
    """The virtual environment's programs first, and a `sudo` for machines that are root without one."""
    programs = folder / ".programs"
    programs.mkdir()
    sudo = programs / "sudo"
    sudo.write_text('#!/bin/sh\nexec "$@"\n')
    sudo.chmod(0o755)
    spaceverse = programs / "spaceverse"
    spaceverse.write_text(f'#!/bin/sh\nexec {sys.executable} -m testbed.cli "$@"\n')
    spaceverse.chmod(0o755)
    path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}


def test_calls_of_the_public_api_in_the_docs_have_arguments_that_it_takes() -> None:
    """Also in blocks that no test runs, and in the text: `Satellite(profile="jetson-1.json")`."""
    public: dict[str, list[object]] = defaultdict(list)  # traces and testbed have a GroundStation each
    for module in (testbed, traces, nodes):
        for name in module.__all__:
            public[name].append(getattr(module, name))
    checked, wrong = 0, []
    for page in pages():
        blocks = [(block.line, block.text) for block in code_blocks(page) if block.language == "python"]
        text = page.read_text(encoding="utf-8")
        spans = [
            (text.count("\n", 0, match.start()) + 1, match[1])
            for match in re.finditer(r"(?<!`)`([A-Z]\w+\([^`\n]*\))`", text)
        ]
        for line, code in (*blocks, *spans):
            for call in ast.walk(ast.parse(code.replace(", ...)", ")"))):
                if not (
                    isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in public
                ):
                    continue
                checked += 1
                positional = [None for _ in call.args]
                keywords = {keyword.arg: None for keyword in call.keywords if keyword.arg}
                if not any(_takes(one, positional, keywords) for one in public[call.func.id]):
                    wrong.append(f"{_name(page)}:{line}: {ast.unparse(call)}")
    assert checked > 10
    assert not wrong


def _takes(called: object, positional: list[None], keywords: dict[str, None]) -> bool:
    assert callable(called)
    try:
        inspect.signature(called).bind_partial(*positional, **keywords)
    except TypeError:
        return False
    return True
