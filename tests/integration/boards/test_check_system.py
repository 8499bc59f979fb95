"""`spaceverse board check` logs in on a board and checks its system, over a real ssh server."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from testbed.boards.check import system
from testbed.boards.check.findings import Finding, usable
from tests.support.boards.played_host import ROOT
from tests.support.boards.sshd import ssh_board

pytestmark = [pytest.mark.root, pytest.mark.online]


def test_a_board_is_asked_over_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ssh_board(tmp_path) as (board, key, known_hosts):

        def look(identity: Path = key, known: Path = known_hosts) -> list[Finding]:
            return system.check_system(board, identity=identity, known_hosts=known)

        monkeypatch.setattr(system, "PYTHONS", ("/nowhere/python", f"cd {ROOT} && {sys.executable}"))
        found = {finding.what: finding for finding in look()}
        assert usable(list(found.values()))
        assert found["Python"].detail.startswith(sys.version.split()[0])
        assert "paho-mqtt" in found["packages"].detail

        monkeypatch.setattr(system, "PYTHONS", ("cd / && env -i /usr/bin/env python9",))
        (refused,) = look()
        assert refused.verdict == "refused" and refused.detail.startswith("it has no agent: ")

        (tmp_path / "nobody").write_text("")
        for finding in (*look(known=tmp_path / "nobody"), *look(identity=tmp_path / "nobody")):
            assert finding == replace(finding, what="board itself", verdict="note")
            assert finding.detail.startswith("not checked, because the login failed: ")
