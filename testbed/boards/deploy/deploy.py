"""Deploys the node programs to a board: wheels, environment, models, and the agent with its systemd unit.

    /opt/spaceverse/wheels/     the bundle
                    venv/       a separate Python environment
                    models/     a folder per model
                    agent.json  readable by root only
    /etc/systemd/system/spaceverse-agent.service    if the board has systemd

A repeated deployment sends only files whose checksums differ, and keeps the fields of agent.json that are the
board's own (`OWN_FIELDS`).
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
OWN_FIELDS = ("allow_code", "power", "power_sensor")
WATCH_S = 3.0  # plus twice the start-up time of the agent's program, so that late failures are seen, too

_LOOK = """
uname -m
python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])' || echo none
id -u
df -Pk "$1" | awk 'END {print $4}'
test -d /run/systemd/system && echo systemd || echo none
"""


@dataclass(frozen=True)
class BoardSystem:
    """The properties of a board that matter for a deployment."""

    architecture: str
    python: str
    is_root: bool
    free_bytes: int
    has_systemd: bool


@dataclass(frozen=True)
class Deployed:
    """The result of a deployment.

    Args:
        wheels_sent: Number of wheels sent.
        model_files_sent: Number of model files sent.
        installed: Whether packages were installed.
        unit: Whether the agent was started as a systemd unit.
        start_command: Command that starts the agent.
        facts: Report of the agent about the board.
    """

    wheels_sent: int
    model_files_sent: int
    installed: bool
    unit: bool
    start_command: str
    facts: dict[str, Any]


async def look(shell: Shell) -> BoardSystem:
    """Query the properties of a board.

    Raises:
        SshError: the query failed.
    """
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
    """Send everything, install it, and start the agent if the board has systemd.

    Args:
        shell: Connection to the board, as root.
        bundle: Folder of wheels (testbed/boards/deploy/bundle.py).
        agent_config: Configuration for nodes/agent.py; `models` is filled in.
        models: Model folders besides the models that are part of the package.
        root: Destination folder on the board.
        step: Receives the description of each step.

    Returns:
        What was done.

    Raises:
        InputError: the bundle does not fit the board, or the board has too little space or rights.
        SshError: a program failed on the board, or the agent does not stay up.
    """
    files = {f"{model.name}/{p.relative_to(model)}": p for model in models for p in _files(model)}
    step("checking the board")
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
    # The agent runs as a user of its own, and root's umask may be strict.
    await shell.run("chmod", "-R", "go+rX", str(root / "venv"), str(root / "models"))
    config = root / "agent.json"
    own = _own_fields(await shell.run("sh", "-c", 'cat "$0" 2> /dev/null || true', str(config)))
    text = json.dumps({**agent_config, **own, "models": str(root / "models")}, indent=2)
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


def _own_fields(text: str) -> dict[str, Any]:
    """Return the fields of an agent.json that a board's owner has set; none if it is not readable."""
    try:
        config = json.loads(text)
    except ValueError:
        return {}
    return {name: config[name] for name in OWN_FIELDS if name in config} if isinstance(config, dict) else {}


def _check(system: BoardSystem, bundle: Path, manifest: Mapping[str, Any]) -> None:
    wanted = manifest.get("architecture"), manifest.get("python")
    if (system.architecture, system.python) != wanted:
        raise InputError(
            f"{bundle} is for {wanted[0]}, Python {wanted[1]}; the board has {system.architecture}, "
            f"Python {system.python}: spaceverse board bundle "
            f"--arch {system.architecture} --python {system.python}"
        )
    if not system.is_root:
        raise InputError("installing the agent's service needs root: set ssh_user to root in the inventory")
    size_bytes = sum((bundle / name).stat().st_size for name in manifest["files"])
    if system.free_bytes < 4 * size_bytes:
        free, need = system.free_bytes / 1e9, 4 * size_bytes / 1e9
        raise InputError(
            f"the board has {free:.1f} GB of free disk space, but {need:.1f} GB are needed: free some"
        )


async def _install(
    shell: Shell, root: PurePosixPath, wheels: Mapping[str, str], step: Callable[[str], None]
) -> bool:
    """Create the environment and install exactly the bundle; return False if it is installed already.

    The checksums of the installed bundle are stored on the board, and removed during an installation. So an
    interrupted deployment is completed by the next one, whatever it had sent.
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
        # Its version stays the same during development; pip would keep the old code.
        await shell.run(*command, "--force-reinstall", *own)
    await shell.write(done, wanted)
    return True


def _files(model: Path) -> list[Path]:
    if not (model / "config.json").is_file():
        raise InputError(f"{model} is not a model folder: it has no config.json")
    return sorted(path for path in model.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
