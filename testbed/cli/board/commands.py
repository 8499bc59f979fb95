"""`spaceverse board`: physical boards in place of emulated satellites."""

from __future__ import annotations

import argparse
from importlib import import_module

# Modules that add subcommands; each has add_parser(subparsers) that sets `run` by set_defaults.
_COMMANDS = (
    "testbed.cli.board.check",
    "testbed.cli.board.bundle",
    "testbed.cli.board.deploy",
)


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand `board`."""
    parser = subparsers.add_parser(
        "board",
        help="manage physical boards in place of emulated satellites",
        description="List, check and prepare the boards of an inventory (boards.toml).",
    )
    commands = parser.add_subparsers(title="subcommands", metavar="SUBCOMMAND", required=True)
    for name in _COMMANDS:
        import_module(name).add_parser(commands)
