"""The console command `spaceverse`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import cast

from testbed.cli.parser import CommandParser, PrintCompletion, leaf_parsers
from testbed.cli.terminal.log import add_log_options, logging_as_requested
from testbed.cli.terminal.messages import guarded

_DESCRIPTION = "Run satellites and ground stations with vision-language models over an emulated LEO network."
_EPILOG = """examples:
  # check this machine and show how to fix what is missing
  spaceverse doctor
  # link traces from real orbits
  spaceverse trace make --help
  # a real pass, end to end
  sudo spaceverse run topologies/dove_pass.py
  # measure how well emulated links follow their settings
  sudo spaceverse verify
  # options and examples of a subcommand
  spaceverse SUBCOMMAND --help

shell completion, for bash (zsh and tcsh likewise):
  spaceverse --print-completion bash \\
      > ~/.local/share/bash-completion/completions/spaceverse

Rates, durations, shares and sizes take a unit: 20M, 2MB/s, 100ms, 35%, 64kB. Bare numbers are bit/s, seconds,
fractions of 1 and bytes. NO_COLOR turns colours off.

exit codes: 0 success; 1 something failed; 2 the input is invalid; 130 stopped by Ctrl-C
"""

# Modules that add subcommands; each has add_parser(subparsers), which sets `run` by set_defaults.
_COMMANDS = (
    "testbed.cli.doctor",
    "testbed.cli.trace",
    "testbed.cli.scenario.plan",
    "testbed.cli.scenario.run",
    "testbed.cli.scenario.report",
    "testbed.cli.export",
    "testbed.cli.live.commands",
    "testbed.cli.replay",
    "testbed.cli.verify",
    "testbed.cli.captures",
    "testbed.cli.ask",
    "testbed.cli.eval",
    "testbed.cli.board.commands",
    "testbed.cli.clean",
)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    root = CommandParser(prog="spaceverse", description=_DESCRIPTION, epilog=_EPILOG)
    root.add_argument("--version", action="version", version=_version(), help="print the version and exit")
    root.add_argument(
        "--print-completion",
        action=PrintCompletion,
        metavar="SHELL",
        help="print a completion script for bash, zsh or tcsh and exit",
    )
    subparsers = root.add_subparsers(title="subcommands", metavar="SUBCOMMAND", required=True)
    for name in _COMMANDS:
        import_module(name).add_parser(subparsers)
    for command in (root, *leaf_parsers(root)):
        if "-" in command.prefix_chars:  # `ask` passes all of its arguments on to a program
            add_log_options(command)
    return root


def _version() -> str:
    try:
        return f"spaceverse {version('spaceverse-testbed')}"
    except PackageNotFoundError:
        return "spaceverse (not installed)"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv`, by default that of the process, and return the exit code."""

    def run() -> int:
        arguments = parser().parse_args(argv)  # imports all subcommands: Ctrl-C may come by then
        with logging_as_requested(arguments):
            return cast("int", arguments.run(arguments))

    return guarded(run)


if __name__ == "__main__":
    raise SystemExit(main())
