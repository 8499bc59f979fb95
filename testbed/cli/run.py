"""`spaceverse run`, and the same command for a scenario file that is run as a script."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from testbed.cli.guarded import guarded
from testbed.scenario.file import build_scenario, load_scenario
from testbed.scenario.model import Scenario

_EPILOG = """examples:
  sudo spaceverse run topologies/dove_pass.py
  sudo spaceverse run topologies/dove_pass.py --shaper netem --output /tmp/runs
  sudo spaceverse run runs/20261123T120000-dove_pass/scenario.json       the same run again
  sudo spaceverse run topologies/dove_pass.py --json | jq .totals
"""


def add_parser(subparsers: Any) -> None:
    """Add `run` to the command line."""
    parser = subparsers.add_parser(
        "run",
        help="run a scenario: hosts, links, programs, models, and a table of where the time went",
        description="Run a scenario. Needs root; touches only what it makes itself, and takes it away again.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("scenario", type=Path, help="a .py file with a function scenario(), or a .json file")
    _add_options(parser)
    parser.set_defaults(run=lambda arguments: _run(load_scenario(arguments.scenario), arguments))


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--shaper", choices=["auto", "nfqueue", "netem"], help="overrides the scenario")
    parser.add_argument("--output", type=Path, default=Path("runs"), help="parent of the run's folder")
    parser.add_argument("--json", action="store_true", help="print results.json instead of the table")


def run_as_script(scenario: Callable[[], Scenario], argv: Sequence[str] | None = None) -> int:
    """Run the scenario of a file that is executed as a script, with the options of `spaceverse run`.

    The last line of the file is `raise SystemExit(run_as_script(scenario))`.

    Args:
        scenario: function that returns the scenario; its docstring describes the script in `--help`.
        argv: command-line arguments, those of the process if None.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(description=(scenario.__doc__ or "Run this scenario.") + " Needs root.")
    _add_options(parser)
    arguments = parser.parse_args(argv)
    return guarded(lambda: _run(build_scenario(scenario, sys.argv[0]), arguments))


def _run(scenario: Scenario, arguments: argparse.Namespace) -> int:
    from testbed.results.table import console, results_table
    from testbed.run.progress import TerminalProgress  # rich and Mininet are slow to import
    from testbed.run.run import run_scenario

    if arguments.shaper:
        scenario = scenario.model_copy(update={"shaper": arguments.shaper})
    terminal = console(stderr=arguments.json)
    outcome = run_scenario(scenario, arguments.output, TerminalProgress(terminal))
    if outcome.results is None:
        return outcome.exit_code
    if arguments.json:
        print(json.dumps(outcome.results.to_json(), indent=2))
    else:
        terminal.print(results_table(outcome.results, terminal.width))
    terminal.print(f"report: {outcome.folder.report}", style="bold", soft_wrap=True)
    return outcome.exit_code
