"""The console for tables, progress and messages."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from nodes.contract.strict import as_shown

if TYPE_CHECKING:
    from rich.console import Console

_PIPE_WIDTH = 180  # characters of the widest table
_ANY_WIDTH = 10_000
_NARROW = 6  # characters of a column whose cells fold


def console(*, stderr: bool = False) -> Console:
    """Return a console on stdout or stderr.

    It is as wide as the terminal, or as COLUMNS says; a file or pipe gets whole tables. Where a table does
    not fit, its cells are folded, and none is cut. NO_COLOR and TERM control the colours. Text is printed
    unchanged, since names, prompts and answers may contain [brackets], apart from control characters.

    Args:
        stderr: print on stderr.
    """
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else _PIPE_WIDTH
    made: Console = _console_class()(stderr=stderr, width=width, markup=False, emoji=False, highlight=False)
    return made


@functools.cache
def _console_class() -> Any:
    from rich.console import Console, Group  # slow to import, and many commands print plain lines
    from rich.segment import Segment
    from rich.table import Table

    class FoldingConsole(Console):
        """A console that cuts no cell of a table, and whose text cannot control the terminal."""

        def render(self, *arguments: Any, **options: Any) -> Iterator[Any]:
            """Render as the base class does; control characters in a text become escapes."""
            for segment in super().render(*arguments, **options):
                if segment.control or segment.text.isprintable():
                    yield segment
                else:
                    lines = map(as_shown, segment.text.split("\n"))
                    yield Segment("\n".join(lines), segment.style)

        def print(self, *objects: Any, **options: Any) -> None:
            """Print as the base class does, but let tables that are too wide fold, and cut no long line."""
            for thing in objects:
                self._let_fold(thing)
            super().print(*objects, **{"crop": False, **options})

        def _let_fold(self, thing: Any) -> None:
            if isinstance(thing, Group):
                for part in thing.renderables:
                    self._let_fold(part)
            if not isinstance(thing, Table):
                return
            wide = self.options.update(max_width=_ANY_WIDTH)
            whole = self.measure(thing, options=wide).maximum
            if whole <= self.width:
                return
            least = 0
            for column in thing.columns:
                column.overflow = "fold"
                cells = [self.measure(cell, options=wide) for cell in (column.header, *column.cells)]
                width = max((max(cell.maximum for cell in cells), column.min_width or 0))
                whole -= width  # at last, the lines and spaces between the columns remain
                least += width if column.no_wrap else min(width, _NARROW)
            if whole + least > self.width:
                for column in thing.columns:
                    column.no_wrap, column.min_width = False, None

    return FoldingConsole
