"""Tables on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

_LEFT = ("satellite", "station")
_MOST_FOR_RICH = 500  # rich measures each cell: 17,000 rows take it 15 s


def print_table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str = "no contact") -> None:
    """Print a table, names to the left and numbers to the right; `empty` where there is no row."""
    if len(rows) > _MOST_FOR_RICH:
        _print_plainly(heads, rows)
        return
    from rich.console import Console  # only where a table is shown
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for head in heads:
        table.add_column(head, justify="left" if head in _LEFT else "right")
    for row in rows:
        table.add_row(*row)
    # A pipe is no narrow terminal: nothing may be folded or cut there.
    width = None if Console().is_terminal else 200
    # Names are other people's, and may hold [brackets].
    Console(width=width, markup=False, emoji=False).print(table if rows else empty)


def _print_plainly(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    signs = ["<" if head in _LEFT else ">" for head in heads]
    line = "  ".join(f"{{:{sign}{width}}}" for sign, width in zip(signs, widths, strict=True))
    print("\n".join(line.format(*row).rstrip() for row in (heads, *rows)))
