"""A board over ssh: programs, and files by checksum.

The host's key has to be known, as to OpenSSH: nothing is sent to a stranger.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from testbed.boards.deploy.bundle import sha256
from testbed.boards.inventory import Board
from testbed.errors import CapabilityError, InputError, TestbedError

if TYPE_CHECKING:
    import asyncssh

CONNECT_WITHIN_S = 15.0


class SshError(TestbedError):
    """A program failed on the board; the text ends with what it said."""


class Shell:
    """An open connection to a board.

    Attributes:
        board: its name.
    """

    def __init__(self, connection: asyncssh.SSHClientConnection, board: str) -> None:
        self._connection, self.board = connection, board

    async def run(self, *command: str, given: str | None = None) -> str:
        """Run a program; returns what it prints. Raises SshError for another exit status than 0."""
        done = await self._connection.run(shlex.join(command), input=given, check=False)
        if done.exit_status != 0:
            said = f"{_text(done.stdout)}\n{_text(done.stderr)}".strip().splitlines() or [
                "it printed nothing"
            ]
            program = " ".join(command[:3])
            raise SshError(
                f"board {self.board}: {program} ... ended with {done.exit_status}: {said[-1].strip()}"
            )
        return _text(done.stdout)

    async def works(self, *command: str) -> bool:
        """Whether a program ends with 0."""
        return (await self._connection.run(shlex.join(command), check=False)).exit_status == 0

    async def write(self, path: PurePosixPath, text: str, mode: int = 0o644) -> None:
        """Write a file, whole or not at all; nobody sees more of it than `mode` lets them."""
        part = f"{path}.part"
        async with self._connection.start_sftp_client() as sftp:
            if await sftp.exists(part):
                await sftp.remove(part)
            async with sftp.open(part, "x", attrs=_attributes(mode)) as file:
                await file.write(text)
            await sftp.posix_rename(part, str(path))

    async def put(self, files: Mapping[str, Path], folder: PurePosixPath) -> list[str]:
        """Bring files into a folder, by their paths in it; returns those that were not there already.

        A file is compared by its SHA-256; it gets its name only when it is whole.
        """
        folders = sorted({str((folder / name).parent) for name in files} | {str(folder)})
        await self.run("mkdir", "-p", *folders)
        there = await self._sums(folder)
        sent = []
        async with self._connection.start_sftp_client() as sftp:
            for name, path in files.items():
                if there.get(name) == sha256(path):
                    continue
                await sftp.put(str(path), f"{folder / name}.part")
                await sftp.posix_rename(f"{folder / name}.part", str(folder / name))
                sent.append(name)
        return sent

    async def _sums(self, folder: PurePosixPath) -> dict[str, str]:
        text = await self.run("find", str(folder), "-type", "f", "-exec", "sha256sum", "{}", "+")
        sums = {}
        for line in text.splitlines():
            digest, _, path = line.partition("  ")
            sums[str(PurePosixPath(path).relative_to(folder))] = digest
        return sums


@asynccontextmanager
async def connect(
    board: Board, *, identity: Path | None = None, known_hosts: Path | None = None
) -> AsyncIterator[Shell]:
    """Log in on a board.

    Args:
        board: of the inventory.
        identity: private key; None tries those of the user and of the ssh agent.
        known_hosts: None is the user's.

    Raises:
        CapabilityError: asyncssh is missing.
        InputError: it cannot be reached, its key is not known, it lets nobody in, or `identity` is no use.
    """
    try:
        import asyncssh  # only where it is needed, and installed
    except ImportError:
        raise CapabilityError("ssh to boards needs the package asyncssh: pip install '.[boards]'") from None
    where = f"{board.ssh_user}@{board.management}, port {board.ssh_port}"
    own: dict[str, Sequence[str] | str] = {}
    if identity is not None:
        if not identity.is_file():
            raise InputError(f"no ssh key at {identity}")
        own["client_keys"] = [str(identity)]
    if known_hosts is not None:
        own["known_hosts"] = str(known_hosts)
    try:
        connection = await asyncssh.connect(
            board.management, board.ssh_port, username=board.ssh_user, connect_timeout=CONNECT_WITHIN_S, **own
        )
    except asyncssh.HostKeyNotVerifiable as error:
        # Under sudo ssh is root's, which knows other hosts than the user does.
        ssh = "sudo ssh" if os.geteuid() == 0 and "SUDO_USER" in os.environ else "ssh"
        if known_hosts is not None:
            ssh += f" -o UserKnownHostsFile={known_hosts}"
        advice = f"log in once: {ssh} -p {board.ssh_port} {board.ssh_user}@{board.management}"
        raise InputError(
            f"board {board.name}: its ssh key is not known ({error.reason}); {advice}"
        ) from error
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
        raise InputError(
            f"ssh key {identity}: {error}; give one without a passphrase, or leave --identity out and have "
            "the ssh agent hold it (sudo --preserve-env=SSH_AUTH_SOCK)"
        ) from error
    except asyncssh.PermissionDenied as error:
        raise InputError(f"board {board.name}: {where}: no key of yours opens it: ssh-copy-id") from error
    except (OSError, asyncssh.Error) as error:
        raise InputError(f"board {board.name}: {where}: {error}; correct the inventory") from error
    async with connection:
        yield Shell(connection, board.name)


def _text(printed: str | bytes | None) -> str:
    return printed.decode(errors="replace") if isinstance(printed, bytes) else printed or ""


def _attributes(mode: int) -> asyncssh.SFTPAttrs:
    import asyncssh  # there is a connection, so there is the package

    return asyncssh.SFTPAttrs(permissions=mode)
