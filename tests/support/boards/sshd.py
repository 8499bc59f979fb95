"""OpenSSH's server in a separate mount namespace; nothing is installed.

Where the machine has no sshd, Debian's packages are downloaded and unpacked into the folder `build` of the
checkout. The tests marked `online` do so first; workers with a network of their own cannot.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from testbed.boards.inventory import Board, RouteAttachment
from testbed.network.programs import spawn
from tests.support import ROOT
from tests.support.nodes.ends import free_port
from tests.support.waiting import wait_for

KEPT = ROOT / "build/sshd"
# sshd needs a user and a folder that the machine may not have. Logins get an empty home folder, because this
# machine's login scripts do not belong to the board. $0: sshd, $1: its configuration.
ENTER = """
mkdir -p -m 755 /run/sshd /run/home
cp /etc/passwd /run/passwd
grep -q ^sshd: /run/passwd || echo sshd:x:99:65534::/run/sshd:/usr/sbin/nologin >> /run/passwd
sed -i 's,^\\(root:.*\\):[^:]*:\\([^:]*\\)$,\\1:/run/home:\\2,' /run/passwd
mount --bind /run/passwd /etc/passwd
exec "$0" -D -e -f "$1"
"""


@dataclass(frozen=True)
class Access:
    """The keys of an ssh server, and the command that starts it."""

    command: list[str]
    identity: Path
    known_hosts: Path


def prepare_sshd(folder: Path, address: str, port: int) -> Access:
    """Create keys and a configuration in `folder`, for a server with a separate /run."""
    for name in ("host", "user"):
        key = folder / name
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    config = folder / "sshd_config"
    config.write_text(
        f"ListenAddress {address}\nPort {port}\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/user.pub\n"
        "UsePAM no\nStrictModes no\nPidFile none\nPermitRootLogin yes\nSubsystem sftp internal-sftp\n"
    )
    known_hosts = folder / "known_hosts"
    host = address if port == 22 else f"[{address}]:{port}"
    known_hosts.write_text(f"{host} {(folder / 'host.pub').read_text()}")
    command = ["sh", "-c", ENTER, find_sshd(), str(config)]
    return Access(command, folder / "user", known_hosts)


def find_sshd() -> str:
    """Return the path of sshd; skip the test if it can neither be found nor downloaded."""
    if (found := shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")) is not None:
        return found
    if not KEPT.exists():
        _download()
    return str(KEPT / "usr/sbin/sshd")


def _download() -> None:
    KEPT.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=KEPT.parent) as name:
        packages = ["openssh-server", "openssh-sftp-server"]
        done = subprocess.run(
            ["apt-get", "download", "-q", *packages], cwd=name, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            lack = "no sshd here, and apt-get cannot download openssh-server"
            pytest.skip(f"{lack}: {done.stderr.strip()[-200:]}")
        for package in Path(name).glob("*.deb"):
            subprocess.run(["dpkg", "-x", str(package), f"{name}/unpacked"], check=True)
        with suppress(OSError):  # another test was faster
            Path(name, "unpacked").rename(KEPT)


@contextmanager
def ssh_board(folder: Path) -> Iterator[tuple[Board, Path, Path]]:
    """Yield (a board that is this machine, a private key for it, its known_hosts)."""
    port = free_port()
    access = prepare_sshd(folder, "127.0.0.1", port)
    log = folder / "sshd.log"
    with log.open("wb") as file:
        own_run = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /run && exec "$0" "$@"']
        server = spawn([*own_run, *access.command], stdin=subprocess.DEVNULL, stdout=file, stderr=file)
    try:
        wait_for(lambda: b"listening" in log.read_bytes() or server.poll() is not None, "sshd")
        assert server.poll() is None, log.read_text()
        attach = RouteAttachment(kind="route", address="127.0.0.1")
        board = Board(name="board-1", attach=attach, management="127.0.0.1", ssh_user="root", ssh_port=port)
        yield board, access.identity, access.known_hosts
    finally:
        server.kill()
        server.wait()
