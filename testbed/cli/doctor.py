"""`spaceverse doctor`: what this machine can do, and what mends the rest."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from testbed.machine.capabilities import Capability

_EPILOG = """examples:
  sudo spaceverse doctor              a table: what is there, why it matters, what mends it
  sudo spaceverse doctor --json       the same for programs

exit codes: 0 a scenario can run here; 1 something that a run needs is missing
Probing leaves nothing behind, but may make the kernel load a module that is on disk (sch_netem).
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand `doctor`."""
    parser = subparsers.add_parser(
        "doctor",
        help="say what this machine can do, and what mends the rest",
        description="Probe everything that a run may need, by doing it.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Probe and print; 0 if a scenario can run here, else 1."""
    from testbed.machine import capabilities  # its netlink library would slow down every --help
    from testbed.network.shapers.capabilities import shaper_capabilities

    found = capabilities.probe(shaper_capabilities())
    ready = capabilities.enough_for_a_run(found)
    if args.json:
        print(
            json.dumps({"ready": ready, "capabilities": [dataclasses.asdict(one) for one in found]}, indent=2)
        )
    else:
        _print_table(found)
        print(_verdict(found, ready))
    return 0 if ready else 1


def _print_table(found: Sequence[Capability]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    table.add_column("capability")
    table.add_column("")
    table.add_column("found", ratio=2)
    table.add_column("why it matters", ratio=3)
    for one in found:
        mark = Text("yes", "green") if one.ok else Text("no", "bold red")
        table.add_row(Text(one.name), mark, Text(one.detail), Text(one.why))
    console = Console()
    console.print(table)
    for mend in dict.fromkeys(one.mend for one in found if not one.ok):
        names = ", ".join(one.name for one in found if not one.ok and one.mend == mend)
        console.print(Text(f"\n{names}: mend with\n    {mend}"), soft_wrap=True)
    console.print()


def _verdict(found: Sequence[Capability], ready: bool) -> str:
    from testbed.machine.capabilities import NEEDED, SHAPERS

    missing = [one.name for one in found if not one.ok]
    if ready:
        return "A scenario can run here." + (f" It will do without: {', '.join(missing)}." if missing else "")
    needed = [name for name in missing if name in NEEDED]
    if all(name in missing for name in SHAPERS):
        needed.append(f"a shaper ({' or '.join(SHAPERS)})")
    return f"A scenario cannot run here yet; it needs: {', '.join(needed)}."
