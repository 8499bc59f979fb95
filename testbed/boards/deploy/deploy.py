"""Brings the node's programs to a board: wheels, environment, models, the agent's configuration and its unit.

    /opt/spaceverse/wheels/     the bundle, by checksum
                    venv/       a Python environment of its own
                    models/     each in a folder, by checksum
                    agent.json  its owner's alone
    /etc/systemd/system/spaceverse-agent.service    where the board has systemd

Doing it again sends what has changed and nothing else.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from testbed.boards.deploy.agent_unit import start_agent
from testbed.boards.deploy.bundle import MANIFEST, read_manifest
from testbed.boards.ssh import Shell, SshError
from testbed.errors import InputError

ROOT = PurePosixPath("/opt/spaceverse")
WATCH_S = 3.0  # and twice as long as the agent's program takes to begin, for its other ways to fail

_LOOK = """
uname -m
python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])' || echo none
id -u
df -Pk "$1" | awk 'END {print $4}'
test -d /run/systemd/system && echo systemd || echo none
"""


@dataclass(frozen=True)
class BoardSystem:
    """What a board is, as far as it matters here."""

    architecture: str
    python: str
    is_root: bool
    free_bytes: int
    has_systemd: bool


@dataclass(frozen=True)
class Deployed:
    """What was done: files that were sent, whether packages were installed, how the agent is started."""

    wheels_sent: int
    model_files_sent: int
    installed: bool
    unit: bool
    start_command: str
    facts: dict[str, Any]


async def look(shell: Shell) -> BoardSystem:
    """Ask the board what it is. Raises SshError."""
    text = await shell.run("sh", "-s", "/", stdin=_LOOK)
    architecture, python, user, free_kib, init = text.split()
    return BoardSystem(architecture, python, user == "0", int(free_kib) * 1024, init == "systemd")


async def deploy(
    shell: Shell,
    bundle: Path,
    agent_config: Mapping[str, Any],
    *,
    models: Sequence[Path] = (),
    root: PurePosixPath = ROOT,
    step: Callable[[str], None] = lambda text: None,
) -> Deployed:
    """Bring everything, and start the agent where the board has systemd.

    Args:
        shell: connection to the board, as root.
        bundle: folder of wheels (testbed/boards/deploy/bundle.py).
        agent_config: for nodes/agent.py; `models` is filled in.
        models: folders of models besides those that ship.
        root: where it goes on the board.
        step: is told what is being done.

    Raises:
        InputError: the bundle is not for this board, or the board cannot take it.
        SshError: something failed there, or the agent does not stay up.
    """
    files = {f"{model.name}/{p.relative_to(model)}": p for model in models for p in _files(model)}
    step("looking at the board")
    wheels = read_manifest(bundle)
    system = await look(shell)
    _check(system, bundle, json.loads((bundle / MANIFEST).read_text(encoding="utf-8")))
    await shell.run("mkdir", "-p", str(root))
    await shell.run("chmod", "755", str(root))
    step("sending wheels")
    sent = await shell.put({name: bundle / name for name in wheels}, root / "wheels")
    installed = await _install(shell, root, wheels, step)
    step("sending models")
    model_files = await shell.put(files, root / "models")
    config = root / "agent.json"
    text = json.dumps({**agent_config, "models": str(root / "models")}, indent=2)
    await shell.write(config, text + "\n", 0o600)
    python = str(root / "venv/bin/python")
    begin_s = time.monotonic()
    await shell.run(python, "-m", "nodes.agent", str(config), "--check")
    begins_s = time.monotonic() - begin_s
    if system.has_systemd:
        step("starting the agent")
        await start_agent(shell, python, config, WATCH_S + 2 * begins_s)
    facts = json.loads(await shell.run(python, "-m", "nodes.agent", "--facts"))
    start_command = f"{python} -m nodes.agent {config}"
    return Deployed(len(sent), len(model_files), installed, system.has_systemd, start_command, facts)


def _check(system: BoardSystem, bundle: Path, manifest: Mapping[str, Any]) -> None:
    wanted = manifest.get("architecture"), manifest.get("python")
    if (system.architecture, system.python) != wanted:
        raise InputError(
            f"{bundle} is for {wanted[0]}, Python {wanted[1]}; the board has {system.architecture}, "
            f"Python {system.python}: spaceverse board bundle "
            f"--arch {system.architecture} --python {system.python}"
        )
    if not system.is_root:
        raise InputError("the agent sets up a service and needs root: set ssh_user to root in the inventory")
    size_bytes = sum((bundle / name).stat().st_size for name in manifest["files"])
    if system.free_bytes < 4 * size_bytes:
        free, need = system.free_bytes / 1e9, 4 * size_bytes / 1e9
        raise InputError(f"the board has {free:.1f} GB free, {need:.1f} GB are needed: make room there")


async def _install(
    shell: Shell, root: PurePosixPath, wheels: Mapping[str, str], step: Callable[[str], None]
) -> bool:
    """Make the environment and install exactly the bundle; False where nothing was to be done.

    What is installed stands on the board by checksum, and not while it changes: a deployment that was cut is
    taken up again, whatever it had sent.
    """
    python, done = root / "venv/bin/python", root / "venv/.bundle"
    wanted = "".join(f"{digest}  {name}\n" for name, digest in sorted(wheels.items()))
    if await shell.works("sh", "-c", f'test "$(cat \'{done}\')" = "$0"', wanted.strip()):
        return False
    step("installing packages on the board")
    await shell.run("rm", "-f", str(done))
    if not await shell.works(str(python), "-c", "import pip"):
        try:
            await shell.run("python3", "-m", "venv", "--clear", str(root / "venv"))
        except SshError as error:
            raise InputError(f"{error}; on the board: apt-get install python3-venv") from error
    paths = [str(root / "wheels" / name) for name in wheels]
    command = [str(python), "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-input"]
    await shell.run(*command, *paths)
    if own := [path for path in paths if PurePosixPath(path).name.startswith("spaceverse_testbed-")]:
        # Its version stays while it is developed; pip would take the old one for the new.
        await shell.run(*command, "--force-reinstall", *own)
    await shell.write(done, wanted)
    return True


def _files(model: Path) -> list[Path]:
    if not (model / "config.json").is_file():
        raise InputError(f"{model} is no model's folder: it has no config.json")
    return sorted(path for path in model.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
