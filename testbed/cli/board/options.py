"""Options that several `spaceverse board` subcommands have."""

from __future__ import annotations

import argparse
from pathlib import Path

from testbed.boards.inventory import DEFAULT_PATH


def add_name(parser: argparse.ArgumentParser, *, optional: bool = False) -> None:
    """Add the name of a board."""
    count = "?" if optional else None
    parser.add_argument("name", nargs=count, metavar="NAME", help="name of the board in the inventory")


def add_inventory(parser: argparse.ArgumentParser) -> None:
    """Add the inventory."""
    parser.add_argument(
        "--boards",
        type=Path,
        default=DEFAULT_PATH,
        metavar="FILE",
        help="inventory of boards (default: boards.toml)",
    )


def add_login(parser: argparse.ArgumentParser) -> None:
    """Add the options of the ssh login."""
    parser.add_argument(
        "--identity", type=Path, metavar="FILE", help="private ssh key (default: your keys and ssh agent)"
    )
    parser.add_argument(
        "--known-hosts", type=Path, metavar="FILE", help="known ssh host keys (default: ~/.ssh/known_hosts)"
    )
