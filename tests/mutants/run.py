"""Apply each kept mutant in a copy of the tree, and see whether its tests notice it.

    sudo .venv/bin/python -m tests.mutants.run                  all, 40 minutes on two cores
    .venv/bin/python -m tests.mutants.run --file nodes/contract --jobs 2

Prints "killed" or "survived" for each and the share; ends with 1 below 90 %, or if a mutant survived that is
not listed with the reason why no test can notice it. A text that is gone ends it with an error. Each copy
runs in network namespaces of its own where it may, so that tests that need root run side by side.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.mutants.mutant import GoneError, Mutant, read_list
from tests.support import ROOT

KILLED_MIN_SHARE = 0.9
TIMEOUT_S = 240  # a mutant that waits for ever is noticed as well
COPIED = ("nodes", "testbed", "traces", "topologies", "tests", "tooling", "docs", "benchmarks")
PASSED, NOTHING_RUN = 0, 5


def copy_tree(folder: Path) -> None:
    """Copy what the tests need; what is big and never changed is linked."""
    folder.chmod(0o755)  # some tests are other users
    for name in COPIED:
        shutil.copytree(
            ROOT / name, folder / name, symlinks=True,
            ignore=shutil.ignore_patterns("__pycache__"), copy_function=_link_or_copy,
        )  # fmt: skip
    for path in ROOT.glob("*.*"):
        if path.is_file():
            shutil.copy2(path, folder / path.name)
    for name in ("Makefile", ".venv"):
        if (ROOT / name).exists():
            (folder / name).symlink_to(ROOT / name)


def _link_or_copy(source: str, target: str) -> None:
    if source.endswith(".py"):
        shutil.copy2(source, target)
    else:
        Path(target).symlink_to(source)


def tests_fail(tree: Path, tests: str) -> str | None:
    """Return how the tests ended, or None if they passed.

    Raises:
        RuntimeError: no test was run, or pytest was used wrongly.
    """
    own = ["-n", "1", "--own-machines"] if os.geteuid() == 0 and "integration" in tests else []
    with tempfile.TemporaryDirectory(prefix="mutant", dir=_fast_disk()) as temporary:
        Path(temporary).chmod(0o755)
        command = [
            sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *own, *tests.split(),
        ]  # fmt: skip
        environment = {
            **os.environ,
            "PYTHONPATH": str(tree),
            "TMPDIR": temporary,
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        process = subprocess.Popen(
            command, cwd=tree, env=environment, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        try:
            said, _ = process.communicate(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()
            return "timeout"
    if process.returncode == PASSED:
        return None
    failures = [line for line in said.splitlines() if line.startswith(("FAILED", "ERROR"))]
    if process.returncode == NOTHING_RUN or (not failures and "Error" not in said):
        raise RuntimeError(f"pytest {tests}: exit code {process.returncode}\n{said[-2000:]}")
    return failures[0][:150] if failures else f"exit code {process.returncode}"


def _fast_disk() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - a folder of its own is made there


def tried(mutant: Mutant) -> tuple[Mutant, str | None, float]:
    """Return (the mutant, how it was noticed or None, seconds)."""
    begun_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutants", dir=_fast_disk()) as folder:
        tree = Path(folder)
        copy_tree(tree)
        (tree / mutant.file).write_text(mutant.applied(), encoding="utf-8")
        ended = tests_fail(tree, mutant.tests)
    return mutant, ended, time.monotonic() - begun_s


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--file", default="", help="only mutants of files that begin so")
    parser.add_argument("--list", type=Path, help="another list than the kept one")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--first", type=int, default=0, help="skip so many mutants")
    parser.add_argument("--check-tests", action="store_true", help="run the tests without any fault first")
    options = parser.parse_args()
    mutants = read_list(options.list) if options.list else read_list()
    chosen = [m for m in mutants if m.file.startswith(options.file)][options.first :]
    for mutant in chosen:
        try:
            mutant.applied()
        except GoneError as error:
            print(error, file=sys.stderr)
            return 2
    if options.check_tests:
        for tests in sorted({m.tests for m in chosen}):
            with tempfile.TemporaryDirectory(prefix="mutants", dir=_fast_disk()) as folder:
                copy_tree(Path(folder))
                if (ended := tests_fail(Path(folder), tests)) is not None:
                    print(f"without any fault, {tests}: {ended}", file=sys.stderr)
                    return 2
    killed: list[Mutant] = []
    survived: list[Mutant] = []
    listed: list[Mutant] = []
    with ThreadPoolExecutor(options.jobs) as pool:
        for mutant, ended, took_s in pool.map(tried, chosen):
            which = killed if ended else listed if mutant.survives else survived
            which.append(mutant)
            word = "killed" if ended else "survived"
            print(f"{word} {took_s:.0f} s: {mutant}: {ended or mutant.survives}", flush=True)
    to_kill = len(killed) + len(survived) + len(listed)
    share = len(killed) / max(1, to_kill)
    print(f"{len(killed)} of {to_kill} killed, {share:.1%}; of the others {len(listed)} are known")
    for mutant in survived:
        print(f"SURVIVED: {mutant}")
    return 0 if share >= KILLED_MIN_SHARE and not survived else 1


if __name__ == "__main__":
    sys.exit(main())
