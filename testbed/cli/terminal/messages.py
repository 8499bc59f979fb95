"""Errors and warnings of a command as one line on stderr."""

from __future__ import annotations

import errno
import os
import sys
import warnings
from collections.abc import Callable
from typing import TextIO

from nodes.contract.files import NO_ROOM
from nodes.contract.strict import as_shown
from testbed.cli.terminal.streams import make_streams_usable, stop_writing_to_stdout

_ENDED_BY_READER = 141  # as a shell reports SIGPIPE
_NO_MORE = NO_ROOM | {errno.EFBIG}


def say(text: str, stream: TextIO | None = None) -> None:
    """Print lines that may hold foreign text, such as a name from a file, which cannot control the terminal.

    Args:
        text: one or more lines.
        stream: where to; stdout if None.
    """
    print("\n".join(map(as_shown, text.split("\n"))), file=stream)


def guarded(command: Callable[[], int]) -> int:
    """Call `command` and return its exit code; an error meant for the user becomes one line on stderr.

    Such an error is any exception with an integer `exit_code`, an operating system's error about a file, or a
    full disk. All others are defects and keep their traceback.
    """
    make_streams_usable()
    with warnings.catch_warnings():
        warnings.showwarning = _one_line_warning
        try:
            code = _flushed(command)
        except KeyboardInterrupt:
            print("spaceverse: stopped", file=sys.stderr)
            # Python notes an interrupt that passed through an exec() of text, as dataclasses use it during
            # imports, and would end this process by SIGINT, whatever its exit code. Another exec forgets it.
            exec("")  # noqa: S102
            return 130
        except BrokenPipeError:
            stop_writing_to_stdout()
            return _ENDED_BY_READER
        except Exception as error:
            described = _described(error)
            if described is None:
                raise
            text, code = described
            say(f"spaceverse: error: {text}", sys.stderr)
            if isinstance(error, OSError):
                stop_writing_to_stdout()
        return code


def _flushed(command: Callable[[], int]) -> int:
    try:
        code = command()
    except SystemExit:  # of --help, --version and the like, which ignore a full stdout
        sys.stdout.flush()
        raise
    sys.stdout.flush()
    return code


def _described(error: Exception) -> tuple[str, int] | None:
    """Return the message and the exit code of an error that the user can act on."""
    code = getattr(error, "exit_code", None)
    if isinstance(code, int):
        return str(error), code
    if not isinstance(error, OSError):
        return None
    if error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {error.strerror}", 2
    if error.errno in _NO_MORE:
        return f"the output cannot be written: {error.strerror}; make room, or write elsewhere", 1
    return None


def _one_line_warning(message: Warning | str, *_: object, **__: object) -> None:
    say(f"spaceverse: warning: {message}", sys.stderr)
