"""Checks of the system that a board runs: Python, packages, clock, models and disk, queried over ssh."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nodes.contract.machine.network_managers import how_to_leave_alone
from testbed.boards.check.findings import Finding
from testbed.boards.inventory import Board
from testbed.boards.ssh import SshError, connect
from testbed.errors import InputError

LOGIN_WITHIN_S = 5.0
ANSWER_WITHIN_S = 30.0  # login included
PYTHON_AT_LEAST = (3, 10)  # setup.py
FREE_AT_LEAST_BYTES = 1 << 30  # frames, outboxes and logs of a few runs
# The environment that `spaceverse board deploy` creates, or a Python that the board's owner has set up.
PYTHONS = ("/opt/spaceverse/venv/bin/python", "python3")
WHAT = "board itself"
INSTALL = "on the board: pip install 'spaceverse-testbed[node]'"


def check_system(
    board: Board, *, identity: Path | None = None, known_hosts: Path | None = None
) -> list[Finding]:
    """Log in without a password and check the system of a board.

    Args:
        board: A board of the inventory.
        identity: Private key; None tries the user's own keys and ssh agent.
        known_hosts: File of known host keys; None is the user's.

    Returns:
        The findings; a single note if nobody can log in.
    """
    try:
        printed = asyncio.run(_query_agent(board, identity, known_hosts))
    except InputError as error:
        return [Finding(WHAT, "note", f"not checked, because the login failed: {error}")]
    except asyncio.TimeoutError:
        return [Finding(WHAT, "note", f"not checked: no answer within {ANSWER_WITHIN_S:.0f} s")]
    except (SshError, OSError) as error:
        return [Finding(WHAT, "note", f"not checked: {error}")]
    begin = printed.rfind("\n{\n") + 1 if "\n{\n" in printed else 0
    try:
        facts = json.loads(printed[begin:])
    except (ValueError, RecursionError):
        lines = printed.strip().splitlines() or ["it printed nothing"]
        return [Finding(WHAT, "refused", f"it has no agent: {lines[-1]}", INSTALL)]
    try:
        return list(system_findings(facts))
    except (ValueError, TypeError, KeyError, AttributeError):
        return [Finding(WHAT, "refused", "its agent reports other facts than this version reads", INSTALL)]


async def _query_agent(board: Board, identity: Path | None, known_hosts: Path | None) -> str:
    """Return everything that the agent's program prints about the board.

    Raises:
        InputError: the login failed.
        asyncio.TimeoutError: the board did not answer in time.
        SshError, OSError: the connection was lost.
    """

    async def query() -> str:
        async with connect(
            board, identity=identity, known_hosts=known_hosts, within_s=LOGIN_WITHIN_S
        ) as shell:
            tries = " || ".join(f"{python} -m nodes.agent --facts" for python in PYTHONS)
            return await shell.output("sh", "-c", f"exec 2>&1 < /dev/null; {tries}")

    return await asyncio.wait_for(query(), ANSWER_WITHIN_S)


def system_findings(facts: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield findings about the facts that a board's agent reports (nodes/board/facts.py)."""
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
        yield Finding("disk", "refused", f"{free_gb:.1f} GB free", "free some disk space on the board")
    else:
        yield Finding("disk", "ok", f"{free_gb:.1f} GB free")
    models = ", ".join(facts["models"]) or "only the pair that is part of the package"
    yield Finding("models", "ok", models)
    yield _clock(facts["chrony"])
    yield _accelerator(facts)
    if managers := facts.get("network_managers"):
        yield Finding(
            "its network",
            "note",
            f"{', '.join(managers)} on the board may reconfigure its interface in mid-run; on the board: "
            f"{how_to_leave_alone(managers, 'INTERFACE')}",
        )


def _accelerator(facts: Mapping[str, Any]) -> Finding:
    memory = facts.get("memory_bytes")
    size = "" if memory is None else f"; {memory / 1e9:.1f} GB of memory"
    found = facts.get("accelerator")
    if found is None:
        return Finding("accelerator", "note", f"none found: models run on the processor{size}")
    if "+cpu" in str(facts["packages"].get("torch")):
        return Finding(
            "accelerator",
            "note",
            f"{found}, but its torch was built without CUDA: models run on the processor",
        )
    return Finding("accelerator", "ok", f"{found}{size}")


def _clock(chrony: Mapping[str, Any] | str) -> Finding:
    if isinstance(chrony, str):
        return Finding("clock", "note", f"{chrony}; runs compare the clocks themselves, to about 1 ms")
    bound_s = chrony.get("bound_s")
    if bound_s is None:
        return Finding("clock", "note", "chrony has no time source; runs compare the clocks themselves")
    return Finding("clock", "ok", f"chrony follows {chrony.get('reference')}, within {bound_s * 1e3:.3f} ms")
