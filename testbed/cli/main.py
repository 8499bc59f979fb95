"""The console command `spaceverse`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import cast

from testbed.cli.guarded import guarded
from testbed.cli.options_file import OptionsFileParser

_DESCRIPTION = "Satellites and ground stations with vision-language models over an emulated LEO network."
_EPILOG = """examples:
  spaceverse doctor                                  check this machine and show how to fix what is missing
  spaceverse trace make --help                       a link trace from a real orbit
  sudo spaceverse run topologies/dove_pass.py        one real pass, end to end
  sudo spaceverse verify                             do links here do what they are told? measured
  spaceverse SUBCOMMAND --help                       options and examples of each

exit codes: 0 done; 1 it ran and something failed; 2 the input cannot be used; 130 stopped by Ctrl-C
"""

# Modules that add subcommands; each has add_parser(subparsers) that sets `run` by set_defaults.
_COMMANDS = (
    "testbed.cli.doctor",
    "testbed.cli.trace.commands",
    "testbed.cli.run",
    "testbed.cli.replay",
    "testbed.verify.verify",
    "testbed.cli.captures",
    "testbed.cli.ask",
    "testbed.cli.eval",
    "testbed.cli.board.commands",
    "testbed.cli.clean",
)


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    root = OptionsFileParser(
        prog="spaceverse",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    root.add_argument("--version", action="version", version=_version())
    subparsers = root.add_subparsers(title="subcommands", metavar="SUBCOMMAND", required=True)
    for name in _COMMANDS:
        import_module(name).add_parser(subparsers)
    return root


def _version() -> str:
    try:
        return f"spaceverse {version('spaceverse-testbed')}"
    except PackageNotFoundError:
        return "spaceverse (not installed)"


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""

    def run() -> int:
        arguments = parser().parse_args(argv)  # imports all subcommands: Ctrl-C may come by then
        return cast("int", arguments.run(arguments))

    return guarded(run)


if __name__ == "__main__":
    raise SystemExit(main())
