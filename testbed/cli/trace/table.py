"""Tables of passes and contacts."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from nodes.contract.strict import as_shown
from testbed.cli.terminal.console import console
from testbed.cli.terminal.messages import say

_LEFT = ("satellite", "station")
_MOST_FOR_RICH = 500  # rich measures every cell, which is slow for thousands of rows


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str = "no contact") -> None:
    """Print a table: names are aligned left, numbers right.

    A terminal gets a table that fits its width; files and pipes get one line per row.

    Args:
        headings: headings of the columns.
        rows: cells of each row.
        empty: text to print instead of a table without rows.
    """
    if not rows:
        say(empty)
        return
    rows = [[as_shown(cell) for cell in row] for row in rows]
    if len(rows) > _MOST_FOR_RICH or not sys.stdout.isatty():
        _print_plainly(headings, rows)
        return
    from rich.table import Table  # slow to import, and pipes do without it

    table = Table(box=None, padding=(0, 1, 0, 0))
    for heading in headings:
        table.add_column(
            heading,
            justify="left" if heading in _LEFT else "right",
            overflow="fold",
            no_wrap="UTC" in heading,
        )
    for row in rows:
        table.add_row(*row)
    console().print(table)


def _print_plainly(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    signs = ["<" if heading in _LEFT else ">" for heading in headings]
    line = "  ".join(f"{{:{sign}{width}}}" for sign, width in zip(signs, widths, strict=True))
    say("\n".join(line.format(*row).rstrip() for row in (headings, *rows)))
