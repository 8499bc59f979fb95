"""Deployment of programs, models and agent over a real sshd to a board without internet."""

from __future__ import annotations

import asyncio
import json
import platform
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from zipfile import ZipFile

import pytest

from nodes.models import COMPACT
from testbed.boards.deploy import bundle
from testbed.boards.deploy.bundle import Target, make_bundle
from testbed.boards.deploy.deploy import Deployed, deploy
from testbed.boards.inventory import Board
from testbed.boards.ssh import SshError, connect
from testbed.errors import CapabilityError, InputError
from testbed.mqtt.certificates import new_authority
from tests.support.boards.sshd import ssh_board

pytestmark = [pytest.mark.root, pytest.mark.online]
# What a login finds here, which need not be the Python of these tests.
PYTHON = subprocess.run(
    ["python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
    env={"PATH": "/usr/local/bin:/usr/bin:/bin"}, capture_output=True, text=True, check=True,
).stdout.strip()  # fmt: skip
HERE = Target(platform.machine(), PYTHON)
AUTHORITY = new_authority("a test").cert_pem.bytes().decode()
AGENT = {
    "board": "board-1",
    "management": {"host": "127.0.0.1", "ca_pem": AUTHORITY},
    "folder": "/tmp/never",  # noqa: S108
    "allow_code": False,
}
# What the agent needs; torch would be a gigabyte for this machine.
NEEDS = ["paho-mqtt>=2.1,<3", "msgpack>=1,<2", "pydantic>=2.6,<3"]

Access = tuple[Board, Path, Path]


@pytest.fixture(scope="module")
def access(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Access]:
    with ssh_board(tmp_path_factory.mktemp("sshd")) as opened:
        yield opened


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundle, "requirements", lambda wheel, extras: NEEDS)
        try:
            make_bundle(folder, HERE, torch="typing-extensions")
        except CapabilityError as error:
            pytest.skip(str(error))
    return folder


def bring(access: Access, wheels: Path, root: Path, model: Path) -> Deployed:
    async def go() -> Deployed:
        board, identity, known_hosts = access
        async with connect(board, identity=identity, known_hosts=known_hosts) as shell:
            return await deploy(shell, wheels, AGENT, models=[model], root=PurePosixPath(root))

    return asyncio.run(go())


def test_a_board_is_given_everything_once_and_then_what_has_changed(
    access: Access, wheels: Path, tmp_path: Path
) -> None:
    root, model = tmp_path / "opt", tmp_path / "own-model"
    model.mkdir()
    for name in ("config.json", "processor_config.json"):
        (model / name).write_bytes((COMPACT / name).read_bytes())
    first = bring(access, wheels, root, model)
    assert (
        first.installed
        and first.wheels_sent == len(list(wheels.glob("*.whl")))
        and first.model_files_sent == 2
    )
    assert not first.unit, "the server's namespace has no systemd"
    assert first.facts["packages"]["paho-mqtt"] and first.facts["packages"]["spaceverse-testbed"]
    python = root / "venv/bin/python"
    code = "import nodes, sys; print(nodes.__file__); print('mininet' in sys.modules)"
    told = subprocess.run([str(python), "-I", "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.split() == [str(next(root.glob("venv/lib/*/site-packages/nodes/__init__.py"))), "False"]
    config = root / "agent.json"
    assert config.stat().st_mode & 0o777 == 0o600
    assert json.loads(config.read_text())["models"] == str(root / "models")
    check = [*first.start_command.split(), "--check"]
    assert subprocess.run(check, cwd="/", env={}, capture_output=True, check=False).returncode == 0

    config.write_text(json.dumps(AGENT | {"allow_code": True, "power": False, "folder": "elsewhere"}))
    again = bring(access, wheels, root, model)
    kept = AGENT | {"allow_code": True, "power": False, "models": str(root / "models")}
    assert json.loads(config.read_text()) == kept, "the owner's own choices are kept"
    assert (again.wheels_sent, again.model_files_sent, again.installed) == (0, 0, False)
    (model / "config.json").write_text("{}")
    (root / "models/own-model/processor_config.json").write_text("damaged on the board")
    assert bring(access, wheels, root, model).model_files_sent == 2
    assert (root / "models/own-model/config.json").read_text() == "{}"

    newer, wheel = newer_bundle(wheels, tmp_path)
    shutil.copy(newer / wheel, root / "wheels")  # as a deployment leaves it that was cut before it installed
    assert bring(access, newer, root, model).installed
    code = "import nodes; print(nodes.NEWER)"
    assert (
        subprocess.run([str(python), "-I", "-c", code], capture_output=True, check=True).stdout == b"True\n"
    )
    assert not bring(access, newer, root, model).installed


def newer_bundle(wheels: Path, folder: Path) -> tuple[Path, str]:
    """A bundle of newer code under the same version, as it is while the project is developed."""
    newer = Path(shutil.copytree(wheels, folder / "newer"))
    manifest = json.loads((newer / bundle.MANIFEST).read_text())
    name = manifest["project"]
    with ZipFile(wheels / name) as old, ZipFile(newer / name, "w") as new:
        for each in old.infolist():
            new.writestr(
                each, old.read(each) + (b"NEWER = True\n" if each.filename == "nodes/__init__.py" else b"")
            )
    manifest["files"][name] = bundle.sha256(newer / name)
    (newer / bundle.MANIFEST).write_text(json.dumps(manifest))
    return newer, name


def test_a_bundle_for_another_machine_is_refused_with_the_command_that_makes_the_right_one(
    access: Access, wheels: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    manifest = json.loads((wheels / bundle.MANIFEST).read_text()) | {"architecture": "riscv64", "files": {}}
    (other / bundle.MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=f"board bundle --arch {HERE.architecture} --python {HERE.python}"):
        bring(access, other, tmp_path / "opt", COMPACT)
    with pytest.raises(InputError, match="is not a model folder"):
        bring(access, wheels, tmp_path / "opt", tmp_path)
    assert not (tmp_path / "opt/models").exists()


def test_strangers_are_not_talked_to_and_failures_come_in_the_boards_words(
    access: Access, tmp_path: Path
) -> None:
    board, identity, known_hosts = access

    async def run(board: Board, identity: Path, known_hosts: Path, *command: str) -> str:
        async with connect(board, identity=identity, known_hosts=known_hosts) as shell:
            return await shell.run(*command)

    assert asyncio.run(run(board, identity, known_hosts, "echo", "a b; c")) == "a b; c\n"
    with pytest.raises(SshError, match="No such file"):
        asyncio.run(run(board, identity, known_hosts, "cat", "/no/such/file"))
    empty = tmp_path / "known_hosts"
    empty.write_text("")
    for ssh, environment in (("ssh", {}), ("sudo ssh", {"SUDO_USER": "somebody"})):
        advice = f"once: {ssh} -o UserKnownHostsFile={empty} -p {board.ssh_port} root@127.0.0.1"
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("SUDO_USER", raising=False)
            for name, value in environment.items():
                patch.setenv(name, value)
            with pytest.raises(InputError, match=f"its ssh key is unknown .*{advice}"):
                asyncio.run(run(board, identity, empty, "true"))
    for name, passphrase in (("other", ""), ("locked", "secret")):
        made = ["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", str(tmp_path / name)]
        subprocess.run(made, check=True)
    with pytest.raises(InputError, match="none of your keys is accepted"):
        asyncio.run(run(board, tmp_path / "other", known_hosts, "true"))
    with pytest.raises(InputError, match=r"ssh key .*locked: .*[Pp]assphrase.*; use a key without"):
        asyncio.run(run(board, tmp_path / "locked", known_hosts, "true"))
    with pytest.raises(InputError, match="no ssh key at"):
        asyncio.run(run(board, tmp_path / "none", known_hosts, "true"))
    nobody = board.model_copy(update={"ssh_port": 9})
    with pytest.raises(InputError, match="correct the inventory"):
        asyncio.run(run(nobody, identity, known_hosts, "true"))
