"""`spaceverse board list` and `board check`: what the inventory has, and whether it can be attached."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from testbed.boards.inventory import DEFAULT_PATH, Board, place, read_inventory
from testbed.errors import CapabilityError

if TYPE_CHECKING:
    from testbed.boards.check.findings import Finding

_EPILOG = """examples:
  sudo spaceverse board check jetson-1             look at everything, change nothing
  sudo spaceverse board check jetson-1 --json      the same for programs

exit codes: 0 the board can be attached; 1 it is refused, with the reason and what else can be done;
2 the inventory cannot be used, or has no such board
"""
_MARKS = {"ok": "yes", "note": "note", "refused": "NO"}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommands `list` and `check`."""
    listing = subparsers.add_parser("list", help="name the boards of the inventory")
    listing.set_defaults(run=_list)
    checking = subparsers.add_parser(
        "check",
        help="say whether a board can be attached, before anything is touched",
        description="Look at a board's attachment and change nothing. Needs root.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    checking.add_argument("name", metavar="NAME", help="the board's name in the inventory")
    checking.add_argument("--no-login", action="store_true", help="do not log in to look at the board itself")
    checking.add_argument("--identity", type=Path, metavar="FILE", help="private ssh key (the user's)")
    checking.add_argument("--known-hosts", type=Path, metavar="FILE", help="(the user's)")
    checking.set_defaults(run=_check)
    joining = subparsers.add_parser(
        "agent-config",
        help="print what a board's agent needs to join this machine's runs",
        description="Print the board's configuration for `python -m nodes.agent`, with a password that is "
        "made when it is asked for the first time. Keep it where only the agent can read it. Needs root.",
    )
    joining.add_argument("name", metavar="NAME", help="the board's name in the inventory")
    joining.set_defaults(run=_agent_config)
    for parser in (listing, checking, joining):
        parser.add_argument("--boards", type=Path, default=DEFAULT_PATH, metavar="FILE", help="(boards.toml)")
    for parser in (listing, checking):
        parser.add_argument("--json", action="store_true", help="print JSON")


def _list(args: argparse.Namespace) -> int:
    boards = read_inventory(args.boards).boards
    if args.json:
        print(json.dumps([board.model_dump(mode="json") for board in boards.values()], indent=2))
    else:
        print("\n".join(_line(board) for board in boards.values()))
    return 0


def _line(board: Board) -> str:
    return f"{board.name:20} {place(board.attach)}; management {board.management}"


def _check(args: argparse.Namespace) -> int:
    from testbed.boards.check.attachment import check_attachment  # netlink would slow down every --help
    from testbed.boards.check.findings import usable
    from testbed.boards.check.system import check_system

    board = read_inventory(args.boards).board(args.name)
    try:
        found = check_attachment(board)
        if not args.no_login:
            found += check_system(board, identity=args.identity, known_hosts=args.known_hosts)
    except PermissionError as error:
        raise CapabilityError(f"board {board.name}: {error.strerror}; run with sudo") from error
    if args.json:
        findings = [asdict(finding) for finding in found]
        print(json.dumps({"board": board.name, "usable": usable(found), "findings": findings}, indent=2))
    else:
        print("\n".join(line for finding in found for line in _lines(finding)))
        verdict = "can be attached" if usable(found) else "is refused"
        print(f"\nboard {board.name} {verdict}")
    return 0 if usable(found) else 1


def _agent_config(args: argparse.Namespace) -> int:
    from testbed.boards.agent_access import agent_config

    print(json.dumps(agent_config(read_inventory(args.boards).board(args.name)), indent=2))
    return 0


def _lines(finding: Finding) -> list[str]:
    lines = [f"{_MARKS[finding.verdict]:5} {finding.what:17} {finding.detail}"]
    return [*lines, f"{'':23} instead: {finding.instead}"] if finding.instead else lines
