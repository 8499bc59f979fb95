"""Images of containers: read, checked, and unpacked into a root filesystem by umoci.

An image is an OCI image layout (image-spec, image-layout.md), as a folder or in a tar file, or a folder that
is the root filesystem itself. Nothing is ever pulled from a registry.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nodes.contract.files import write_atomically
from testbed.errors import CapabilityError, InputError, ScenarioError
from testbed.machine.system_path import find_program
from testbed.network.programs import end_session, spawn

UNPACKER = "umoci"
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_INDEX, _MARK = "index.json", "oci-layout"
_PART = re.compile(rf"(\./)?({_INDEX}|{_MARK}|blobs/sha256/[0-9a-f]{{64}})")
_REFERENCE = "org.opencontainers.image.ref.name"
_OURS = "unpacked"
_CROSS = "\u2a2f "  # the beginning of umoci's errors
_STOP_CHECKED_S = 0.1
_HOW = "write it with docker save (version 25 or later) or podman save --format oci-archive"


@dataclass(frozen=True)
class Image:
    """An image that is ready to run.

    Args:
        root: the folder of its root filesystem, which must not be changed.
        process: how its program runs (`process` of the OCI runtime-spec): args, env, cwd, user.
    """

    root: Path
    process: Mapping[str, Any] = field(
        default_factory=lambda: {"args": [], "env": [PATH], "cwd": "/", "user": {"uid": 0, "gid": 0}}
    )


def check_image(path: Path) -> None:
    """Check that there is an image, and a program that unpacks it; its content is looked at by `unpacked`.

    Raises:
        ScenarioError: there is none.
        CapabilityError: this machine has nothing that unpacks it.
    """
    if not path.exists():
        raise ScenarioError(f"no image at {path}: {_HOW}")
    if not _is_root(path) and find_program(UNPACKER) is None:
        raise CapabilityError(f"{UNPACKER}, which unpacks images, was not found: apt-get install {UNPACKER}")


def unpacked(path: Path, folder: Path, check_stop: Callable[[], None] = lambda: None) -> Image:
    """Return an image with its root filesystem; a root filesystem is used where it is.

    Args:
        path: of the image.
        folder: for what is unpacked; created.
        check_stop: raises to stop it; called often.

    Raises:
        ScenarioError: it is no image, or a damaged one.
    """
    if _is_root(path):
        return Image(path)
    layout, bundle = folder / "layout", folder / "bundle"
    layout.mkdir(parents=True)
    try:
        if path.is_dir():
            (layout / "blobs").symlink_to((path / "blobs").absolute())
            shutil.copy(path / _INDEX, layout)
            shutil.copy(path / _MARK, layout)
        else:
            _extract(path, layout)
        _name_its_only_image(layout / _INDEX)
    except (ValueError, KeyError, TypeError, EOFError, FileNotFoundError, tarfile.TarError) as error:
        raise ScenarioError(f"{path} is no OCI image ({error}): {_HOW}") from error
    command = [find_program(UNPACKER) or UNPACKER, "unpack", "--image", f"{layout}:{_OURS}", str(bundle)]
    with spawn(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            errors = _errors_of(process, check_stop)
        finally:
            end_session(process)
    if process.returncode != 0:
        reason = (errors.strip() or "it printed nothing").splitlines()[-1]
        raise InputError(f"{path} could not be unpacked: {reason.lstrip(_CROSS)}")
    if not path.is_dir():
        shutil.rmtree(layout)
    config = json.loads((bundle / "config.json").read_text())
    return Image(bundle / "rootfs", config["process"])


def _errors_of(process: subprocess.Popen[str], check_stop: Callable[[], None]) -> str:
    """Return what a process writes to stderr until it has ended."""
    while True:
        check_stop()
        with suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=_STOP_CHECKED_S)[1]


def _is_root(path: Path) -> bool:
    return path.is_dir() and not (path / _MARK).exists()


def _extract(archive: Path, layout: Path) -> None:
    """Take the files of a layout, and nothing else, out of a tar file."""
    if not tarfile.is_tarfile(archive):
        raise ValueError("it is no tar file")
    (layout / "blobs/sha256").mkdir(parents=True)
    with tarfile.open(archive) as file:
        for member in file:
            name = _PART.fullmatch(member.name)
            content = file.extractfile(member) if name and member.isfile() else None
            if name is not None and content is not None:
                with (layout / name[2]).open("wb") as target:
                    shutil.copyfileobj(content, target)
    if not (layout / _MARK).exists():
        raise ValueError(f"it holds no {_MARK}")


def _name_its_only_image(index: Path) -> None:
    """Give the only image of a layout the name by which it is unpacked."""
    content = json.loads(index.read_text())
    images = content["manifests"]
    if len(images) != 1:
        raise ValueError(f"it holds {len(images)} images instead of one")
    images[0]["annotations"] = {_REFERENCE: _OURS}
    write_atomically(index, json.dumps(content))
