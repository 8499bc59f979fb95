"""Atomic replacement of output files: a file appears whole or not at all.

`nodes.contract.files` has a helper of the same kind for `nodes` and `testbed`; this package must not import
it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from traces.errors import OutputFileError


@contextmanager
def replacing(path: str | Path, *, force: bool = True) -> Iterator[Path]:
    """Yield a temporary path in the same folder; it is renamed to `path` if the block ends without an error.

    Args:
        path: the file to write.
        force: replace an existing file; False rejects it.

    Raises:
        OutputFileError: The folder is missing or not writable, or the file exists and `force` is False.
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
