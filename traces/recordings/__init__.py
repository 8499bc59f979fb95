"""Recordings of links in foreign formats, read into traces; some formats can be written too.

`read_recording(path, Assumptions(...))` reads every format. Each format's reader is in a module of this
package.
"""

from traces.recordings.formats import FORMATS, parse_recording, read_recording
from traces.recordings.recording import Assumptions

__all__ = ["FORMATS", "Assumptions", "parse_recording", "read_recording"]
