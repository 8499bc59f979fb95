"""Traces and recordings as the input of commands that have no options for values that a recording lacks."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from traces.errors import TraceError

if TYPE_CHECKING:
    from traces.trace import Trace


def read_trace_or_recording(path: Path) -> Trace:
    """Read a trace, or a recording that needs no options.

    Raises:
        TraceError: The file cannot be read. For a recording that lacks a value, the message names the format,
            the missing option and `spaceverse trace convert`.
    """
    from traces.recordings.formats import format_of, read_recording
    from traces.recordings.options import OWN
    from traces.trace_file import read_trace

    try:
        form = format_of(path.read_bytes(), str(path))
    except (OSError, TraceError):
        form = OWN  # whose reader says what is wrong
    if form == OWN:
        return read_trace(path)
    try:
        return read_recording(path, form=form)
    except TraceError as fault:
        command = f"spaceverse trace convert {shlex.quote(str(path))} ... -o FILE"
        raise TraceError(f"{fault}; make a trace of the recording first: {command}") from None
