"""The ssh client for boards: runs programs, writes files, and transfers files by checksum.

As with OpenSSH, the host key of the board has to be known: nothing is sent to an unknown host.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from nodes.contract.files import sha256
from testbed.boards.inventory import Board
from testbed.errors import CapabilityError, InputError, TestbedError

if TYPE_CHECKING:
    import asyncssh

CONNECT_WITHIN_S = 15.0


class SshError(TestbedError):
    """Something failed on the board; for a program, the text ends with the last line that it printed."""


class Shell:
    """An open connection to a board.

    Attributes:
        board: Name of the board.
    """

    def __init__(self, connection: asyncssh.SSHClientConnection, board: str) -> None:
        self._connection, self.board = connection, board

    async def run(self, *command: str, stdin: str | None = None) -> str:
        """Run a program and return its output.

        Raises:
            SshError: its exit status is not 0.
        """
        done = await self._connection.run(shlex.join(command), input=stdin, check=False)
        if done.exit_status != 0:
            printed = f"{_text(done.stdout)}\n{_text(done.stderr)}".strip().splitlines()
            last_line = printed[-1].strip() if printed else "it printed nothing"
            program = " ".join(command[:3])
            raise SshError(f"board {self.board}: {program} ... ended with {done.exit_status}: {last_line}")
        return _text(done.stdout)

    async def output(self, *command: str) -> str:
        """Run a program and return its output, whatever its exit status."""
        return _text((await self._connection.run(shlex.join(command), check=False)).stdout)

    async def works(self, *command: str) -> bool:
        """Return whether a program ends with exit status 0."""
        return (await self._connection.run(shlex.join(command), check=False)).exit_status == 0

    async def write(self, path: PurePosixPath, text: str, mode: int = 0o644) -> None:
        """Write a file atomically; its content is never readable to more users than `mode` allows."""
        part = f"{path}.part"
        async with self._connection.start_sftp_client() as sftp:
            if await sftp.exists(part):
                await sftp.remove(part)
            async with sftp.open(part, "x", attrs=_attributes(mode)) as file:
                await file.write(text)
            await sftp.posix_rename(part, str(path))

    async def put(self, files: Mapping[str, Path], folder: PurePosixPath) -> list[str]:
        """Send the files that the board lacks.

        Files are compared by SHA-256, and get their names only when they are complete.

        Args:
            files: Local files, by their paths in `folder`.
            folder: Folder on the board; created if missing.

        Returns:
            The paths of the files that were sent.
        """
        folders = sorted({str((folder / name).parent) for name in files} | {str(folder)})
        await self.run("mkdir", "-p", *folders)
        sums = await self._sums(folder)
        sent = []
        async with self._connection.start_sftp_client() as sftp:
            for name, path in files.items():
                if sums.get(name) == sha256(path):
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
    board: Board,
    *,
    identity: Path | None = None,
    known_hosts: Path | None = None,
    within_s: float = CONNECT_WITHIN_S,
) -> AsyncIterator[Shell]:
    """Log in on a board without a password.

    Args:
        board: A board of the inventory.
        identity: Private key; None tries the user's own keys and ssh agent.
        known_hosts: File of known host keys; None is the user's.
        within_s: Time limit of the login, seconds.

    Raises:
        CapabilityError: asyncssh is missing.
        InputError: the board is unreachable, its host key is unknown, no key is accepted, or `identity` is
            unusable.
        SshError: the connection was lost, or a file could not be transferred.
    """
    try:
        import asyncssh  # an optional dependency
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
            board.management, board.ssh_port, username=board.ssh_user, connect_timeout=within_s, **own
        )
    except asyncssh.HostKeyNotVerifiable as error:
        # Under sudo ssh is root's, which knows other hosts than the user does.
        ssh = "sudo ssh" if os.geteuid() == 0 and "SUDO_USER" in os.environ else "ssh"
        if known_hosts is not None:
            ssh += f" -o UserKnownHostsFile={known_hosts}"
        advice = f"log in once: {ssh} -p {board.ssh_port} {board.ssh_user}@{board.management}"
        raise InputError(f"board {board.name}: its ssh key is unknown ({error.reason}); {advice}") from error
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
        raise InputError(
            f"ssh key {identity}: {error}; use a key without a passphrase, or omit --identity and load the "
            "key into the ssh agent (sudo --preserve-env=SSH_AUTH_SOCK)"
        ) from error
    except asyncssh.PermissionDenied as error:
        raise InputError(
            f"board {board.name}: {where}: none of your keys is accepted; add one with ssh-copy-id"
        ) from error
    except (OSError, asyncssh.Error) as error:
        raise InputError(f"board {board.name}: {where}: {error}; correct the inventory") from error
    try:
        async with connection:
            yield Shell(connection, board.name)
    except asyncssh.Error as error:
        raise SshError(f"board {board.name}: {error}") from error


def _text(printed: str | bytes | None) -> str:
    return printed.decode(errors="replace") if isinstance(printed, bytes) else printed or ""


def _attributes(mode: int) -> asyncssh.SFTPAttrs:
    import asyncssh  # installed, since there is a connection

    return asyncssh.SFTPAttrs(permissions=mode)
