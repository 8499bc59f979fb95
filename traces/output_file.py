"""Atomic replacement of output files: a file appears whole or not at all.

`nodes.contract.files` has a helper of the same kind for `nodes` and `testbed`; this package must not import
it. Both follow symbolic links, never replace a device, and take "-" for standard output.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from traces.errors import OutputFileError

_STDOUT = ("-", "/dev/stdout")


def is_stdout(path: str | Path) -> bool:
    """Return whether a path stands for standard output."""
    return str(path) in _STDOUT


@contextmanager
def replacing(path: str | Path, *, force: bool = True) -> Iterator[Path]:
    """Yield a temporary path; its content becomes that of `path` if the block ends without an error.

    A regular file is replaced in one step. Of a symbolic link, the file that it leads to is replaced. Devices
    and pipes stay what they are and are written to, as is standard output (path "-").

    Args:
        path: the file to write.
        force: replace an existing file; False rejects it.

    Raises:
        OutputFileError: The folder is missing or not writable, the path is that of a folder or another thing
            that cannot be written, or the file exists and `force` is False.
    """
    place = _checked(Path(path), force=force)
    if place is None:
        with _written_through(Path(path)) as part:
            yield part
        return
    part = place.with_name(f".{place.name}.{os.getpid()}.part{place.suffix}")
    try:
        yield part
        part.replace(place)
    except OSError as fault:
        raise OutputFileError(f"cannot write {path}: {fault.strerror or fault}") from fault
    finally:
        part.unlink(missing_ok=True)


def check_output(path: str | Path, *, force: bool = True) -> None:
    """Check that `replacing` can write a file, before time is spent on its content.

    Raises:
        OutputFileError: as in `replacing`.
    """
    place = _checked(Path(path), force=force)
    if place is not None and not os.access(place.parent, os.W_OK | os.X_OK):
        raise OutputFileError(f"cannot write {path}: folder {place.parent} is not writable")


def _checked(target: Path, *, force: bool) -> Path | None:
    """Return the path of the file to replace; None for what is written through."""
    if is_stdout(target):
        return None
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        place = Path(os.path.realpath(target))
        if not place.parent.is_dir():
            raise OutputFileError(f"cannot write {target}: there is no folder {place.parent}") from None
        return place
    except OSError as fault:
        raise OutputFileError(f"cannot write {target}: {fault.strerror}") from fault
    if stat.S_ISCHR(mode) or stat.S_ISFIFO(mode):
        return None
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
        raise OutputFileError(f"cannot write {target}: it is {what}; name a file")
    if not force:
        raise OutputFileError(f"{target} exists; add --force to replace it, or name another file")
    return Path(os.path.realpath(target))


@contextmanager
def _written_through(target: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / f"part{target.suffix}"
        yield part
        try:
            with part.open("rb") as content:
                if is_stdout(target):
                    sys.stdout.flush()
                    shutil.copyfileobj(content, sys.stdout.buffer)
                    sys.stdout.buffer.flush()
                else:
                    with target.open("wb") as out:
                        shutil.copyfileobj(content, out)
        except BrokenPipeError:
            raise  # the reader has what it wanted
        except OSError as fault:
            name = "standard output" if is_stdout(target) else target
            raise OutputFileError(f"cannot write {name}: {fault.strerror or fault}") from fault
