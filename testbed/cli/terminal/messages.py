"""Errors and warnings of a command as one line on stderr."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable


def guarded(command: Callable[[], int]) -> int:
    """Call `command` and return its exit code; an error meant for the user becomes one line on stderr.

    Such an error is any exception with an integer `exit_code`. All others are defects and keep
    their traceback.
    """
    with warnings.catch_warnings():
        warnings.showwarning = _one_line_warning
        try:
            return command()
        except KeyboardInterrupt:
            print("spaceverse: stopped", file=sys.stderr)
            return 130
        except BrokenPipeError:
            return 141
        except Exception as error:
            code = getattr(error, "exit_code", None)
            if not isinstance(code, int):
                raise
            print(f"spaceverse: error: {error}", file=sys.stderr)
            return code


def _one_line_warning(message: Warning | str, *_: object, **__: object) -> None:
    print(f"spaceverse: warning: {message}", file=sys.stderr)
