"""The options of commands that write a file."""

from __future__ import annotations

import argparse
from pathlib import Path

from traces.errors import OutputFileError


def add_output_options(
    parser: argparse.ArgumentParser, *, required: bool = True, text: str = "trace file to write"
) -> None:
    """Add --output and --force.

    Args:
        parser: parser of the command.
        required: --output must be set.
        text: help text of --output.
    """
    parser.add_argument("-o", "--output", required=required, type=Path, metavar="FILE", help=text)
    parser.add_argument("--force", action="store_true", help="replace the file if it exists")


def check_replaceable(arguments: argparse.Namespace) -> None:
    """Check that the output file is new, or may be replaced.

    Raises:
        OutputFileError: the file exists and --force is not set.
    """
    if arguments.output.exists() and not arguments.force:
        raise OutputFileError(f"{arguments.output} exists; add --force to replace it, or name another file")
