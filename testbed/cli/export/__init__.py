"""`spaceverse export ...`: runs, scenarios and traces as files of other programs."""

from __future__ import annotations

from importlib import import_module
from typing import Any

# Modules that add subcommands; each has add_parser(subparsers), which sets `run` by set_defaults.
_COMMANDS = (
    "testbed.cli.export.tables",
    "testbed.cli.export.scenes",
    "testbed.cli.export.tensorboard",
    "testbed.cli.export.dashboard",
)
_EPILOG = """examples:
  spaceverse export tables runs/20261123T120000-dove_pass -o tables
  spaceverse export czml topologies/dove_pass.py -o pass.czml
  spaceverse export SUBCOMMAND --help
"""


def add_parser(subparsers: Any) -> None:
    """Add the subcommand `export`."""
    parser = subparsers.add_parser(
        "export",
        help="write a run, scenario or trace as files of other programs",
        description="Write a run, scenario or trace as files of other programs.",
        epilog=_EPILOG,
    )
    commands = parser.add_subparsers(title="subcommands", metavar="SUBCOMMAND", required=True)
    for name in _COMMANDS:
        import_module(name).add_parser(commands)
