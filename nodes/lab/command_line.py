"""What the command lines of the lab have in common: `python -m nodes.lab.PACKAGE`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

PASSED = "passed"


def command_parser(package: str, description: str, examples: str) -> argparse.ArgumentParser:
    """Return the parser of a package's command, without its options.

    Args:
        package: name of the package in `nodes.lab`.
        description: one sentence.
        examples: text at the end of the help, as it is.
    """
    return argparse.ArgumentParser(
        prog=f"python -m nodes.lab.{package}",
        description=description,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def run_subcommand(
    parser: argparse.ArgumentParser, arguments: Sequence[str] | None, errors: tuple[type[Exception], ...]
) -> int:
    """Run the subcommand that was chosen, its default `run`, and return the exit status.

    Args:
        parser: the parser.
        arguments: the command line; None: of this process.
        errors: of the input, which end the command with one line and status 2.
    """
    options = parser.parse_args(arguments)
    try:
        return int(options.run(options))
    except errors as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def show_gates(gates: Sequence[Mapping[str, Any]], *, as_json: bool) -> int:
    """Print gates as a table or as JSON, and return the exit status: 1 if one failed.

    Args:
        gates: conditions that a benchmark or a model must meet. Each has texts, the first of which is its
            name, and whether it "passed".
        as_json: print JSON.
    """
    if as_json:
        print(json.dumps(gates, indent=2))
    else:
        from rich.console import Console
        from rich.table import Table

        texts = [name for name in gates[0] if name != PASSED]
        table = Table("gate", *texts[1:], "")
        for gate in gates:
            table.add_row(*(gate[name] for name in texts), PASSED if gate[PASSED] else "[bold red]FAILED")
        Console().print(table)
    return 0 if all(gate[PASSED] for gate in gates) else 1
