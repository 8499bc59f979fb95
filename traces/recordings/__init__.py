"""Recordings of links in other people's formats, read into traces and written from them.

`read_recording(path, Assumptions(...))` does it all; each format has its reader in a module of this package.
"""

from traces.recordings.formats import FORMATS, parse_recording, read_recording
from traces.recordings.recording import Assumptions

__all__ = ["FORMATS", "Assumptions", "parse_recording", "read_recording"]
