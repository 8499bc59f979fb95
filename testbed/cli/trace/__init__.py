"""`spaceverse trace ...`: link traces from orbits and recordings; one module per subcommand."""

from __future__ import annotations

from importlib import import_module
from typing import Any

# Modules that add subcommands; each has add_parser(subparsers), which sets `run` by set_defaults.
_COMMANDS = (
    "testbed.cli.trace.make",
    "testbed.cli.trace.info",
    "testbed.cli.trace.plot",
    "testbed.cli.trace.cut",
    "testbed.cli.trace.passes",
    "testbed.cli.trace.convert",
    "testbed.cli.trace.record",
)
_EPILOG = """examples:
  spaceverse trace passes --satellite "FLOCK 2P-1" --station Svalbard
  spaceverse trace make --satellite "FLOCK 2P-1" --station Svalbard --pass 1 \\
      -o pass.csv
  spaceverse trace info pass.csv
  spaceverse trace SUBCOMMAND --help
"""


def add_parser(subparsers: Any) -> None:
    """Add the subcommand `trace`."""
    parser = subparsers.add_parser(
        "trace",
        help="make, read, convert and draw link traces",
        description="Traces of a satellite's link to a ground station: contacts, delay and rates over time.",
        epilog=_EPILOG,
    )
    commands = parser.add_subparsers(title="subcommands", metavar="SUBCOMMAND", required=True)
    for name in _COMMANDS:
        import_module(name).add_parser(commands)
