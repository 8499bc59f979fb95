"""Checks the configurations of many nodes of this machine, as `--check` of each program does.

One start of Python serves them all. Each configuration is checked in a child process: a policy's file may do
anything to its process.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from nodes import ground, satellite
from nodes.runtime.program import EXIT_OK, EXIT_USAGE, leave

Program = Callable[[Sequence[str]], int]
SAID_NOTHING = "no message"


class Check:
    """A configuration that is being checked.

    Args:
        program: `main` of the node's program.
        path: the configuration.
    """

    def __init__(self, program: Program, path: Path) -> None:
        self.path = path
        self._said = os.memfd_create("errors")  # on no disk, which may be full
        self._process = multiprocessing.get_context("fork").Process(target=self._check, args=[program])
        self._process.start()

    def _check(self, program: Program) -> None:
        """Check in the child, whose output is kept apart from the result."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        os.dup2(self._said, sys.stderr.fileno())
        leave(program(["--config", str(self.path), "--check"]))

    def fault(self) -> str | None:
        """Wait for the end; return the last line of its errors, or None if the configuration can be used."""
        self._process.join()
        os.lseek(self._said, 0, os.SEEK_SET)
        with os.fdopen(self._said, encoding="utf-8", errors="replace") as said:
            lines = said.read().strip().splitlines()
        return None if self._process.exitcode == EXIT_OK else (lines or [SAID_NOTHING])[-1]


def faults(checks: Iterable[tuple[Program, Path]]) -> Iterator[tuple[Path, str | None]]:
    """Yield each configuration with its fault, in order; as many as there are cores are checked at once."""
    running: deque[Check] = deque()
    for program, path in checks:
        if len(running) == (os.cpu_count() or 1):
            done = running.popleft()
            yield done.path, done.fault()
        running.append(Check(program, path))
    for check in running:
        yield check.path, check.fault()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m nodes.check",
        description="Check configurations of nodes, and print the fault of each as a line of JSON.",
        epilog="""example:
  python -m nodes.check --satellite nodes/*/satellite.json --ground nodes/svalbard/ground.json
  {"config": "nodes/svalbard/ground.json", "fault": "ground: ...: unknown field 'x'"}

exit status: 0 all can be used, 2 one cannot; "fault" is null where there is none""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for name, kind in (("satellite", "satellites"), ("ground", "ground stations")):
        parser.add_argument(
            f"--{name}", type=Path, nargs="+", default=[], metavar="FILE", help=f"configurations of {kind}"
        )
    options = parser.parse_args(arguments)
    status = EXIT_OK
    programs: list[tuple[Program, list[Path]]] = [
        (satellite.main, options.satellite),
        (ground.main, options.ground),
    ]
    for path, fault in faults((program, path) for program, paths in programs for path in paths):
        print(json.dumps({"config": str(path), "fault": fault}), flush=True)
        status = status if fault is None else EXIT_USAGE
    return status


if __name__ == "__main__":
    leave(main())
