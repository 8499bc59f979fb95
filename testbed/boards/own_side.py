"""What a board itself is like: Python, packages, clock, models, disk; asked over ssh, and judged."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from testbed.boards.check import Finding
from testbed.boards.inventory import Board

LOGIN_WITHIN_S = 5
PYTHON_AT_LEAST = (3, 10)  # setup.py
FREE_AT_LEAST_BYTES = 1 << 30  # frames, outboxes and logs of a few runs
# The environment that `spaceverse board deploy` makes, or what the board's owner has installed.
PYTHONS = ("/opt/spaceverse/venv/bin/python", "python3")
WHAT = "board itself"
INSTALL = "on the board: pip install 'spaceverse-testbed[node]'"


def look(board: Board, *, identity: Path | None = None, known_hosts: Path | None = None) -> list[Finding]:
    """Log in, without a password, and judge what the board says of itself.

    Args:
        board: of the inventory.
        identity: private key; None is the user's choice (ssh_config(5)).
        known_hosts: None is the user's.
    """
    options = ["-o", "BatchMode=yes", "-o", f"ConnectTimeout={LOGIN_WITHIN_S}", "-p", str(board.ssh_port)]
    options += ["-i", str(identity), "-o", "IdentitiesOnly=yes"] if identity is not None else []
    options += ["-o", f"UserKnownHostsFile={known_hosts}"] if known_hosts is not None else []
    tries = " || ".join(f"{python} -m nodes.agent --facts 2>&1" for python in PYTHONS)
    program = ["ssh", *options, f"{board.ssh_user}@{board.management}", f"sh -c {shlex.quote(tries)}"]
    try:
        done = subprocess.run(
            program,
            capture_output=True,
            text=True,
            check=False,
            timeout=6 * LOGIN_WITHIN_S,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return [Finding(WHAT, "note", f"not looked at: {error}")]
    said = (done.stderr.strip() or done.stdout.strip()).splitlines() or ["it said nothing"]
    if done.returncode == 255:  # ssh's own failure
        return [Finding(WHAT, "note", f"not looked at, as nobody can log in: {said[-1]}")]
    begin = done.stdout.rfind("\n{\n") + 1 if "\n{\n" in done.stdout else 0
    try:
        told = json.loads(done.stdout[begin:])
    except ValueError:
        reason = done.stdout.strip().splitlines() or said
        return [Finding(WHAT, "refused", f"it has no agent: {reason[-1]}", INSTALL)]
    return list(judge(told))


def judge(facts: Mapping[str, Any]) -> Iterator[Finding]:
    """Findings from what the board's agent says (nodes/board/facts.py)."""
    version = tuple(map(int, re.findall(r"\d+", str(facts["python"]))[:2]))
    wanted = ".".join(map(str, PYTHON_AT_LEAST))
    if version < PYTHON_AT_LEAST:
        yield Finding("Python", "refused", f"{facts['python']}; {wanted} or newer is needed", INSTALL)
    else:
        yield Finding("Python", "ok", f"{facts['python']} on {facts['architecture']}")
    packages = {name: found for name, found in facts["packages"].items() if name != "spaceverse-testbed"}
    missing = [name for name, found in packages.items() if found is None]
    if missing:
        yield Finding("packages", "refused", f"missing: {', '.join(missing)}", INSTALL)
    else:
        yield Finding("packages", "ok", ", ".join(f"{name} {found}" for name, found in packages.items()))
    free_gb = facts["free_bytes"] / 1e9
    if facts["free_bytes"] < FREE_AT_LEAST_BYTES:
        yield Finding("disk", "refused", f"{free_gb:.1f} GB free", "make room on the board")
    else:
        yield Finding("disk", "ok", f"{free_gb:.1f} GB free")
    models = ", ".join(facts["models"]) or "none of its own; the pair that ships"
    yield Finding("models", "ok", models)
    yield _clock(facts["chrony"])


def _clock(chrony: Mapping[str, Any] | str) -> Finding:
    if isinstance(chrony, str):
        return Finding("clock", "note", f"{chrony}; a run compares the clocks itself, to about a millisecond")
    bound_s = chrony.get("bound_s")
    if bound_s is None:
        return Finding("clock", "note", "chrony follows nobody; a run compares the clocks itself")
    return Finding("clock", "ok", f"chrony follows {chrony.get('reference')}, within {bound_s * 1e3:.3f} ms")
