"""`spaceverse doctor`: check this machine and show how to fix what is missing."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from testbed.cli.terminal.console import console

if TYPE_CHECKING:
    from testbed.machine.capabilities import Capability

_EPILOG = """examples:
  # print a table of capabilities, and a fix for each that is missing
  sudo spaceverse doctor
  # print the same as JSON
  sudo spaceverse doctor --json

exit codes: 0 scenarios can run on this machine; 1 a capability that they need is missing

The checks leave nothing behind, except that the kernel may load a module that is on disk (sch_netem).
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand `doctor`."""
    parser = subparsers.add_parser(
        "doctor",
        help="check this machine and show how to fix what is missing",
        description="Check everything that a run may need by trying it, and show how to fix what is missing.",
        epilog=_EPILOG,
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Check and print the capabilities; return 0 if scenarios can run on this machine, else 1."""
    from testbed.machine import capabilities  # its netlink library would slow down every --help
    from testbed.network.shapers.capabilities import shaper_capabilities

    found = capabilities.probe(shaper_capabilities())
    ready = capabilities.enough_for_a_run(found)
    if args.json:
        capabilities_found = [dataclasses.asdict(capability) for capability in found]
        print(json.dumps({"ready": ready, "capabilities": capabilities_found}, indent=2))
    else:
        _print_table(found)
        print(_verdict(found, ready))
    return 0 if ready else 1


def _print_table(found: Sequence[Capability]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    table.add_column("capability", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("found", ratio=2)
    table.add_column("purpose", ratio=3)
    for capability in found:
        mark = Text("yes", "green") if capability.ok else Text("no", "bold red")
        table.add_row(capability.name, mark, capability.detail, capability.why)
    terminal = console()
    terminal.print(table)
    missing = [capability for capability in found if not capability.ok]
    for fix in dict.fromkeys(capability.fix for capability in missing):
        names = ", ".join(capability.name for capability in missing if capability.fix == fix)
        terminal.print(f"\n{names}: fix with\n    {fix}", soft_wrap=True)
    terminal.print()


def _verdict(found: Sequence[Capability], ready: bool) -> str:
    from testbed.machine.capabilities import NEEDED, SHAPERS

    missing = [capability.name for capability in found if not capability.ok]
    if ready:
        optional = f" Missing but optional: {', '.join(missing)}." if missing else ""
        return f"Scenarios can run on this machine.{optional}"
    needed = [name for name in missing if name in NEEDED]
    if all(name in missing for name in SHAPERS):
        needed.append(f"a shaper ({' or '.join(SHAPERS)})")
    return f"Scenarios cannot run on this machine yet. Missing: {', '.join(needed)}."
