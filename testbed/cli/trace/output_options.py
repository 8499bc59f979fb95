"""The options of commands that write a file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TextIO

from traces.errors import OutputFileError
from traces.output_file import check_output, is_stdout


def add_output_options(
    parser: argparse.ArgumentParser, *, required: bool = True, text: str = "trace file to write"
) -> None:
    """Add --output and --force.

    Args:
        parser: parser of the command.
        required: --output must be set.
        text: help text of --output.
    """
    parser.add_argument(
        "-o", "--output", required=required, type=Path, metavar="FILE", help=f"{text}; - is standard output"
    )
    parser.add_argument("--force", action="store_true", help="replace the file if it exists")


def check_replaceable(arguments: argparse.Namespace) -> None:
    """Check, before anything is computed, that the output file can be written and is new, or may be replaced.

    Raises:
        OutputFileError: the file cannot be written, or exists and --force is not set; or --json would share
            standard output with the file.
    """
    if is_stdout(arguments.output) and getattr(arguments, "json", False):
        raise OutputFileError("-o - and --json both print to standard output; name a file, or omit --json")
    check_output(arguments.output, force=arguments.force)


def wrote(output: Path) -> str:
    """Return the beginning of a command's report on its output file."""
    return "wrote to standard output" if is_stdout(output) else f"wrote {output}"


def report_stream(output: Path) -> TextIO:
    """Return the stream for a command's report: stdout, unless the file itself goes there."""
    return sys.stderr if is_stdout(output) else sys.stdout
