"""Output of exports that are several files: a folder."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from pathlib import Path

from testbed.cli.terminal.messages import say
from traces.errors import OutputFileError
from traces.output_file import is_stdout, replacing


def add_folder_options(parser: argparse.ArgumentParser, text: str) -> None:
    """Add --output and --force.

    Args:
        parser: parser of the command.
        text: help text of --output.
    """
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="DIR", help=text)
    parser.add_argument("--force", action="store_true", help="replace files that exist")


def check_new(folder: Path, names: Iterable[str], *, force: bool) -> None:
    """Check that a folder has none of the files that are to be written, or may replace them.

    Raises:
        OutputFileError: one of them exists and `force` is not set.
    """
    taken = [folder / name for name in names if (folder / name).exists()]
    if taken and not force:
        raise OutputFileError(f"{taken[0]} exists; add --force to replace it, or name another folder")


def write_files(folder: Path, files: Mapping[str, bytes], *, force: bool) -> None:
    """Write files to a folder, which is created if it is missing, and tell where they are.

    Raises:
        OutputFileError: one of the files exists and `force` is not set, or cannot be written; or `folder` is
            a file or standard output.
    """
    if is_stdout(folder) or (folder.exists() and not folder.is_dir()):
        raise OutputFileError(f"cannot write several files to {folder}: it is not a folder; name a folder")
    taken = [name for name in files if (folder / name).exists()]
    if taken and not force:
        raise OutputFileError(
            f"{folder / taken[0]} exists; add --force to replace it, or name another folder"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputFileError(f"cannot create {folder}: {error.strerror}") from None
    for name, content in files.items():
        with replacing(folder / name) as part:
            part.write_bytes(content)
    say(f"wrote {', '.join(files)} to {folder}")
