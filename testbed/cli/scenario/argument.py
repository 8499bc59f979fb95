"""The scenario that a command line names."""

from __future__ import annotations

import argparse

from testbed.errors import InputError
from testbed.scenario.file import load_scenario
from testbed.scenario.model import Scenario


def add_allow_code(parser: argparse.ArgumentParser, what: str) -> None:
    """Add --allow-code.

    Args:
        parser: parser of the command.
        what: who executes the files, such as "the run".
    """
    parser.add_argument(
        "--allow-code",
        action="store_true",
        help=f"allow a .json scenario to name Python files of policies and schedulers, which {what} executes",
    )


def scenario_of(arguments: argparse.Namespace) -> Scenario:
    """Load the scenario `arguments.scenario`.

    Raises:
        InputError: the scenario is invalid, or --allow-code has no effect on it.
    """
    if arguments.allow_code and arguments.scenario.suffix == ".py":
        raise InputError("--allow-code has no effect on a .py scenario, which is a program itself")
    return load_scenario(arguments.scenario, allow_code=arguments.allow_code)
