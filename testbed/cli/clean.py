"""`spaceverse clean`: put this machine's network back after a run that was killed."""

from __future__ import annotations

import argparse
import json

from testbed.errors import CapabilityError

_EPILOG = """examples:
  sudo spaceverse clean              undo what a killed run left behind
  sudo spaceverse clean --list       only say what there is
  sudo spaceverse clean --json       the same for programs

A change that was made outside the project's own namespaces stands in a journal under /var/lib/spaceverse
(or $SPACEVERSE_STATE) until it is undone. A run's Unix sockets lie in /run/spaceverse-PID-TICKS. What belongs
to a run that still goes on is left alone.
exit codes: 0 all is as it was; 1 something could not be undone, or --list found something to undo
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand `clean`."""
    parser = subparsers.add_parser(
        "clean",
        help="put this machine's network back after a run that was killed",
        description="Undo what a dead run changed on this machine's interfaces, exactly. Needs root.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--list", action="store_true", help="change nothing")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Clean and say what was done; 0 if everything is as it was. Raises CapabilityError without root."""
    from testbed.boards.machine_network import changes as host_changes
    from testbed.boards.machine_network import journal  # netlink would slow down every --help
    from testbed.run import sockets as socket_folder

    try:
        if args.list:
            found = journal.found_journals()
            left = socket_folder.left_behind()
            lines = [*map(_line, found), *(f"{path}: sockets of a run that has ended" for path in left)]
            well = not left and all(one.owner.alive() for one in found)
        else:
            lines, well = journal.clean(host_changes.undo)
            lines += [f"{path}: removed" for path in socket_folder.remove_left_behind()]
    except PermissionError as error:
        raise CapabilityError(
            f"{error.filename}: {error.strerror}; put sudo in front of the command"
        ) from error
    if args.json:
        print(json.dumps({"clean": well, "journals": lines}, indent=2))
    else:
        print("\n".join(lines) or "nothing was left behind")
    return 0 if well else 1


def _line(found: object) -> str:
    from testbed.boards.machine_network.journal import LeftBehind, describe

    assert isinstance(found, LeftBehind)  # noqa: S101
    state = "runs" if found.owner.alive() else "has ended"
    changes = ", ".join(map(describe, found.changes)) or "nothing yet"
    return f"{found.what} (process {found.owner.pid}, which {state}): {changes}"
