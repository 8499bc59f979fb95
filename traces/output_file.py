"""Files appear whole or not at all.

`nodes` and `testbed` share a helper of the same kind (nodes/contract/files.py), which this package may not
import.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from traces.errors import OutputFileError


@contextmanager
def replacing(path: str | Path, *, force: bool = True) -> Iterator[Path]:
    """Yield a path beside `path` to write to; it becomes `path` when the block ends without an error.

    Args:
        path: the file that is to appear.
        force: replace a file that is there already; False refuses it.

    Raises:
        OutputFileError: the folder is missing or not writable, or the file exists and `force` is False.
    """
    target = Path(path)
    if not force and target.exists():
        raise OutputFileError(f"{target} exists; add --force to replace it, or name another file")
    part = target.with_name(f".{target.name}.{os.getpid()}.part{target.suffix}")
    try:
        yield part
        part.replace(target)
    except OSError as fault:
        raise OutputFileError(f"cannot write {target}: {fault.strerror or fault}") from fault
    finally:
        part.unlink(missing_ok=True)
