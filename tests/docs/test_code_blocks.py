"""Every command and code block in README and docs runs, or states why it cannot."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("page", OTHER_PAGES, ids=_name)
def test_the_blocks_of_a_page_run(page: Path, tmp_path: Path) -> None:
    _run_page(page, tmp_path)


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
