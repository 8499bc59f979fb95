"""`spaceverse clean`: restore this machine's network after a run that was killed."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from testbed.cli.terminal.messages import say
from testbed.errors import CapabilityError

if TYPE_CHECKING:
    from testbed.boards.machine_network.journal import LeftBehind

_EPILOG = """examples:
  # undo the changes of killed runs
  sudo spaceverse clean
  # list them without undoing them
  sudo spaceverse clean --list

Changes outside of a run's own namespaces are recorded in a journal under /var/lib/spaceverse (or
$SPACEVERSE_STATE) until they are undone. A run keeps its Unix sockets in /run/spaceverse-PID-TICKS, and
unpacked images of containers in /var/lib/spaceverse/images. Runs that are still in progress are not touched.

exit codes: 0 everything is restored; 1 a change could not be undone, or --list found some
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand `clean`."""
    parser = subparsers.add_parser(
        "clean",
        help="restore this machine's network after a run that was killed",
        description="Undo all changes that killed runs made to this machine's interfaces. Needs root.",
        epilog=_EPILOG,
    )
    parser.add_argument("--list", action="store_true", help="list the changes and undo nothing")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Clean up, print what was done, and return 0 if everything is restored.

    Raises:
        CapabilityError: not root.
    """
    from testbed.boards.machine_network import changes as host_changes
    from testbed.boards.machine_network import journal  # netlink is slow to import
    from testbed.machine import control_group
    from testbed.run import own_folders

    try:
        if args.list:
            journals = journal.found_journals()
            folders = own_folders.left_behind()
            groups = control_group.left_behind()
            lines = [*map(_line, journals), *(f"{path}: folder of a run that has ended" for path in folders)]
            lines += [f"{path}: control group of a run that has ended" for path in groups]
            restored = not folders and not groups and all(entry.owner.alive() for entry in journals)
        else:
            lines, restored = journal.clean(host_changes.undo)
            lines += [f"{path}: removed" for path in own_folders.remove_left_behind()]
            lines += [f"{path}: removed" for path in control_group.remove_left_behind()]
    except PermissionError as error:
        raise CapabilityError(f"{error.filename}: {error.strerror}; run it with sudo") from error
    if args.json:
        print(json.dumps({"clean": restored, "journals": lines}, indent=2))
    else:
        say("\n".join(lines) or "nothing to clean up")
    return 0 if restored else 1


def _line(entry: LeftBehind) -> str:
    from testbed.boards.machine_network.journal import describe

    state = "running" if entry.owner.alive() else "ended"
    changes = ", ".join(map(describe, entry.changes)) or "no changes yet"
    damage = f"; {entry.problem}" if entry.problem is not None else ""
    return f"{entry.what} (process {entry.owner.pid}, {state}): {changes}{damage}"
