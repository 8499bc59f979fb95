"""A model's server as a process of its own, from packages that are fetched into a folder."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from urllib.error import URLError

import pytest

from tests.support import ROOT

FETCH_WITHIN_S, READY_WITHIN_S = 300, 90


def fetched(
    folder: Path, what: str, packages: Sequence[str], without_their_needs: Sequence[str] = ()
) -> Path:
    """Fetch packages into a folder; skip the test loudly where they cannot be had.

    Args:
        folder: Where to put them.
        what: What needs them, for the reason.
        packages: Packages with what they need.
        without_their_needs: Packages without what they need, which this environment has.
    """
    for extra in (list(packages), ["--no-deps", *without_their_needs]):
        if extra in ([], ["--no-deps"]):
            continue
        command = [str(Path(sys.executable).with_name("uv")), "pip", "install", "--quiet"]
        command += ["--python", sys.executable, "--target", str(folder), *extra]
        done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_WITHIN_S, check=False)
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            pytest.skip(f"{what} cannot be installed here: {last}")
    return folder


@contextmanager
def serving(
    command: Sequence[str],
    packages: Path,
    port: int,
    *,
    within_s: float = READY_WITHIN_S,
    settings: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a server, wait until it answers at /health, and yield its process; it is killed in the end."""
    path = f"{packages}{os.pathsep}{ROOT}"
    environment = {**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    environment |= settings or {}
    with (
        TemporaryFile() as printed,  # a pipe that nobody reads would stop a talkative server
        subprocess.Popen(
            command, env=environment, stdout=printed, stderr=subprocess.STDOUT, start_new_session=True
        ) as process,
    ):
        try:
            until_s = time.monotonic() + within_s
            while not _healthy(port):
                if process.poll() is not None or time.monotonic() > until_s:
                    printed.seek(0)
                    last = printed.read().decode(errors="replace")[-2000:]
                    raise AssertionError(f"{' '.join(command)} did not start: {last}")
                time.sleep(0.05)
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):  # its own processes may outlive it
                os.killpg(process.pid, signal.SIGKILL)


def _healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as reply:
            return bool(reply.status == 200)
    except (URLError, OSError):
        return False
