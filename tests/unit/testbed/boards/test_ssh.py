"""What a user is told to type, and what a board tells of itself."""

from __future__ import annotations

import asyncio
import os
from typing import Any, cast

import asyncssh
import pytest

from testbed.boards.deploy.deploy import BoardSystem, look
from testbed.boards.inventory import Board
from testbed.boards.ssh import Shell, connect
from testbed.errors import InputError


class Told:
    """A shell at which every program prints the same."""

    def __init__(self, text: str) -> None:
        self._text = text

    async def run(self, *command: str, stdin: str | None = None) -> str:
        return self._text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("aarch64 3.11 0 2048 systemd\n", BoardSystem("aarch64", "3.11", True, 2 << 20, True)),
        ("x86_64 3.10 1000 1 init\n", BoardSystem("x86_64", "3.10", False, 1024, False)),
    ],
)
def test_a_board_is_what_it_prints(text: str, expected: BoardSystem) -> None:
    assert asyncio.run(look(cast(Shell, Told(text)))) == expected


@pytest.mark.parametrize(
    ("user", "sudo", "expected"),
    [(0, True, "once: sudo ssh -p"), (0, False, "once: ssh -p"), (1000, True, "once: ssh -p")],
)
def test_the_command_that_makes_a_host_known_is_that_of_the_same_user(
    monkeypatch: pytest.MonkeyPatch, user: int, sudo: bool, expected: str
) -> None:
    async def unknown(*_: object, **__: object) -> None:
        raise asyncssh.HostKeyNotVerifiable("not trusted")

    monkeypatch.setattr(asyncssh, "connect", unknown)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.delenv("SUDO_USER", raising=False)
    if sudo:
        monkeypatch.setenv("SUDO_USER", "somebody")
    attach: Any = {"kind": "nic", "interface": "tap0"}
    board = Board.model_validate(
        {"name": "b", "management": "192.0.2.7", "link": "10.201.1.1/30", "attach": attach}
    )

    async def go() -> None:
        async with connect(board):
            pass

    with pytest.raises(InputError, match=expected):
        asyncio.run(go())
