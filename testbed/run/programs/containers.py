"""Containers on nodes: the OCI runtime crun, what it is told, and the command that starts it.

A container lives in namespaces of processes and mounts that end with the process that starts it. Its writable
root filesystem is an overlay over the image in a tmpfs there. So when that process is killed, the kernel ends
the container and removes its mounts. Limits are those of a control group that the process joins before.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nodes.contract.files import write_atomically
from nodes.contract.topics import slug
from testbed.errors import CapabilityError, InputError, ScenarioError
from testbed.machine.system_path import find_program, system_path
from testbed.run.programs.images import Image, check_image
from testbed.scenario.model import Scenario
from testbed.scenario.programs import Container

RUNTIME = "crun"
STATE = "/run/spaceverse/state.sock"  # in the container: socket of its node's state

_NAMESPACES = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
# Arguments: folder of the container, root filesystem of the image, command.
# The empty /sys/fs/cgroup hides what crun refuses, groups of versions 1 and 2 side by side; it makes none.
_SET_UP = """
set -e
mount -t tmpfs -o mode=755 container "$1/own"
mount -t tmpfs none /sys/fs/cgroup
cd "$1/own"
mkdir image upper work root
mount --bind "$2" image
mount -t overlay -o nodev,lowerdir=image,upperdir=upper,workdir=work overlay root
cd "$1"
shift 2
exec "$@"
"""
# Those of Docker, without the ones that make device nodes and give files capabilities.
_CAPABILITIES = [
    f"CAP_{name}"
    for name in (
        *("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE", "NET_RAW"),
        *("SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"),
    )
]
_HIDDEN = [
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/scsi",
    "/sys/firmware",
]
_READ_ONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]


def check_containers(scenario: Scenario) -> None:
    """Check that this machine can run the containers of a scenario, and that their images exist.

    Raises:
        CapabilityError: it has no runtime, or is not permitted to mount what containers need.
        ScenarioError: an image does not exist.
    """
    containers = [
        (node, its) for node in scenario.nodes for its in node.programs if isinstance(its, Container)
    ]
    for node, container in containers:
        try:
            check_image(container.image)
            if find_program(RUNTIME) is None:
                raise CapabilityError(
                    f"{RUNTIME}, which runs containers, was not found: apt-get install {RUNTIME}"
                )
        except InputError as error:
            raise type(error)(f"{node.name}: container {container.name}: {error}") from None
    if containers:
        _try_out()


def check_command(container: Container, image: Image) -> None:
    """Raise ScenarioError if neither a container nor its image names a command."""
    if not _arguments(container, image):
        raise ScenarioError(
            f"container {container.name}: its image {container.image} names no command: give one"
        )


def container_command(
    container: Container, image: Image, folder: Path, socket: Path, environment: Mapping[str, str]
) -> list[str]:
    """Return the command that runs a container in the caller's network, until it ends.

    Args:
        container: what to run.
        image: its image.
        folder: for what the runtime needs; created.
        socket: of the node's state; the container finds it at `STATE`.
        environment: variables beside those of the image.
    """
    _make(folder)
    config = _config(container, image, folder, socket, environment)
    write_atomically(folder / "config.json", json.dumps(config))
    runtime = [find_program(RUNTIME) or RUNTIME, "--root", str(folder / "own/state")]
    runtime += ["--cgroup-manager=disabled", "run", "--bundle", str(folder), "container"]
    return _set_up(folder, image, runtime)


def _try_out() -> None:
    """Mount all that a container needs, over an empty image, and ask the runtime for its version."""
    with tempfile.TemporaryDirectory(prefix="spaceverse-container-") as made:
        folder, empty = Path(made, "container"), Path(made, "image")
        _make(folder)
        empty.mkdir()
        command = _set_up(folder, Image(empty), [find_program(RUNTIME) or RUNTIME, "--version"])
        environment = {"PATH": system_path()}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        reason = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[0]
        raise CapabilityError(
            f"this machine cannot run containers: {reason}; "
            "inside of a container, give that one the rights to mount overlays (CAP_SYS_ADMIN)"
        )


def _make(folder: Path) -> None:
    (folder / "own").mkdir(parents=True, exist_ok=True)  # the container may have run before


def _set_up(folder: Path, image: Image, command: list[str]) -> list[str]:
    return [*_NAMESPACES, "sh", "-c", _SET_UP, "sh", str(folder), str(image.root), *command]


def _arguments(container: Container, image: Image) -> list[str]:
    return list(container.command or image.process.get("args", ()))


def _config(
    container: Container, image: Image, folder: Path, socket: Path, environment: Mapping[str, str]
) -> dict[str, Any]:
    """Return the container's description, as of the OCI runtime-spec, config.md."""
    own = [f"{name}={value}" for name, value in environment.items()]
    capabilities = dict.fromkeys(("bounding", "effective", "permitted"), _CAPABILITIES)
    return {
        "ociVersion": "1.0.0",
        "process": {
            "args": _arguments(container, image),
            "env": [*image.process["env"], *own],
            "cwd": image.process["cwd"],
            "user": image.process["user"],
            "capabilities": capabilities,
            "noNewPrivileges": True,
        },
        "root": {"path": str(folder / "own/root")},
        "hostname": slug(container.name),
        "mounts": [
            _mount("/proc", "proc"),
            _mount("/dev", "tmpfs", "nosuid", "strictatime", "mode=755", "size=64m"),
            _mount("/dev/pts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"),
            _mount("/dev/shm", "tmpfs", "nosuid", "noexec", "nodev", "mode=1777"),  # noqa: S108 - its own
            _mount("/dev/mqueue", "mqueue", "nosuid", "noexec", "nodev"),
            _mount("/sys", "sysfs", "nosuid", "noexec", "nodev", "ro"),
            {"destination": STATE, "type": "bind", "source": str(socket), "options": ["bind"]},
        ],
        "linux": {
            "namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")],
            "maskedPaths": _HIDDEN,
            "readonlyPaths": _READ_ONLY,
        },
    }


def _mount(destination: str, kind: str, *options: str) -> dict[str, Any]:
    return {"destination": destination, "type": kind, "source": kind, "options": list(options)}
