"""`spaceverse board list`, `check` and `agent-config`: boards of the inventory, their checks and agents."""

from __future__ import annotations

import argparse
import json
import os
import stat
import sys
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from nodes.contract.files import OWNER_ONLY, check_output, is_stdout, write_atomically
from testbed.boards.inventory import Board, place, read_inventory
from testbed.cli.board.options import add_inventory, add_login, add_name
from testbed.cli.parser import refuse
from testbed.cli.terminal.messages import say
from testbed.errors import CapabilityError

if TYPE_CHECKING:
    from testbed.boards.check.findings import Finding

_EPILOG = """examples:
  # check everything, change nothing
  sudo spaceverse board check jetson-1
  # the same as JSON
  sudo spaceverse board check jetson-1 --json

exit codes: 0 the board can be attached; 1 it cannot, and the output has the
reason and an alternative; 2 the inventory is wrong or does not have the board
"""
_MARKS = {"ok": "yes", "note": "note", "refused": "NO"}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommands `list`, `check` and `agent-config`."""
    listing = subparsers.add_parser(
        "list",
        help="list the boards of the inventory",
        description="List the boards of the inventory, with their addresses and attachments.",
    )
    listing.set_defaults(run=_list)
    checking = subparsers.add_parser(
        "check",
        help="check whether a board can be attached, without changing anything",
        description="Check the attachment and the system of a board. Needs root.",
        epilog=_EPILOG,
    )
    add_name(checking)
    checking.add_argument("--no-login", action="store_true", help="skip the checks that need a login")
    add_login(checking)
    checking.set_defaults(run=_check)
    joining = subparsers.add_parser(
        "agent-config",
        help="print the configuration of a board's agent",
        description="Print the configuration for `python -m nodes.agent` on a board: the address and the "
        "authority of runs of this machine, and a password. Both are generated on the first call. Store the "
        "output where only the agent can read it. Needs root.",
    )
    add_name(joining)
    joining.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("-"),
        metavar="FILE",
        help="file to write, readable by its owner alone (default: -, standard output)",
    )
    joining.set_defaults(run=_agent_config)
    for parser in (listing, checking, joining):
        add_inventory(parser)
    for parser in (listing, checking):
        parser.add_argument("--json", action="store_true", help="print JSON")


def _list(args: argparse.Namespace) -> int:
    boards = read_inventory(args.boards).boards
    if args.json:
        print(json.dumps([board.model_dump(mode="json") for board in boards.values()], indent=2))
    else:
        say("\n".join(_line(board) for board in boards.values()))
    return 0


def _line(board: Board) -> str:
    return f"{board.name:20} {place(board.attach)}; management {board.management}"


def _check(args: argparse.Namespace) -> int:
    from testbed.boards.check.attachability import check_attachment  # netlink would slow down every --help
    from testbed.boards.check.findings import usable
    from testbed.boards.check.system import check_system

    if args.no_login:
        refuse(args, "with --no-login; omit one of them", "identity", "known_hosts")
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
        say("\n".join(line for finding in found for line in _lines(finding)))
        verdict = "can be attached" if usable(found) else "is refused"
        say(f"\nboard {board.name} {verdict}")
    return 0 if usable(found) else 1


def _agent_config(args: argparse.Namespace) -> int:
    from testbed.boards.agent_access import agent_config

    check_output(args.output)
    text = json.dumps(agent_config(read_inventory(args.boards).board(args.name)), indent=2) + "\n"
    if is_stdout(args.output):
        _keep_private(sys.stdout)
        sys.stdout.write(text)
    else:
        write_atomically(args.output, text, private=True)
        say(f"written to {args.output}, which only its owner can read")
    return 0


def _keep_private(stream: TextIO) -> None:
    """Take a file's content away from others before a password is written to it, if a shell made the file."""
    try:
        mode = os.fstat(stream.fileno()).st_mode
    except (OSError, ValueError):  # no file at all
        return
    if stat.S_ISREG(mode) and mode & 0o077:
        os.fchmod(stream.fileno(), OWNER_ONLY)
        warnings.warn("the output has a password: only its owner can read the file now", stacklevel=2)


def _lines(finding: Finding) -> list[str]:
    lines = [f"{_MARKS[finding.verdict]:5} {finding.what:17} {finding.detail}"]
    return [*lines, f"{'':23} instead: {finding.instead}"] if finding.instead else lines
