"""The console for tables, progress and messages."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

_PIPE_WIDTH = 180  # characters of the widest table


def console(*, stderr: bool = False) -> Console:
    """Return a console on stdout or stderr.

    It is as wide as the terminal, or as COLUMNS says; a file or pipe gets whole tables. NO_COLOR and TERM
    control the colours. Text is printed unchanged, since names, prompts and answers may contain [brackets].

    Args:
        stderr: print on stderr.
    """
    from rich.console import Console  # slow to import, and many commands print plain lines

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else _PIPE_WIDTH
    return Console(stderr=stderr, width=width, markup=False, emoji=False, highlight=False)
