"""`transformers serve` with a shipped model, in an environment of its own beside this one's torch.

What it needs beyond a node's packages (25 MB) is fetched into a folder. It needs no torch of its own.

Qwen2-VL's processor needs torchvision, of which the package indexes have no build for each torch. Without it
the server loads processors as nodes do, without the part for videos; all else is as it comes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest

from tests.support import ROOT

NEEDS = ("fastapi", "uvicorn", "openai")
WITHOUT_THEIR_NEEDS = ("accelerate",)  # which would fetch another torch
FETCH_WITHIN_S, READY_WITHIN_S = 120, 90


def fetched(folder: Path) -> Path:
    """Fetch the packages into a folder; skip the test loudly where they cannot be had."""
    for extra in (list(NEEDS), ["--no-deps", *WITHOUT_THEIR_NEEDS]):
        command = [str(Path(sys.executable).with_name("uv")), "pip", "install", "--quiet"]
        command += ["--python", sys.executable, "--target", str(folder), *extra]
        done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_WITHIN_S, check=False)
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            pytest.skip(f"transformers serve cannot be installed here: {last}")
    return folder


@contextmanager
def transformers_serve(packages: Path, model: Path, port: int) -> Iterator[str]:
    """Serve a model and yield the URL with its path."""
    path = f"{packages}{os.pathsep}{ROOT}"
    environment = {**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.support.transformers_serve", "serve", str(model)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu", "--dtype", "float32"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    ) as process:
        try:
            until_s = time.monotonic() + READY_WITHIN_S
            while not _healthy(port):
                if process.poll() is not None or time.monotonic() > until_s:
                    process.kill()
                    printed = process.communicate()[0].decode(errors="replace")
                    raise AssertionError(f"transformers serve did not start: {printed[-2000:]}")
                time.sleep(0.2)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def main() -> None:
    """Run the command `transformers`."""
    import transformers
    from transformers.cli.transformers import main as run

    from nodes.vlm.processor import load_processor

    if find_spec("torchvision") is None:
        automatic: Any = transformers.AutoProcessor
        automatic.from_pretrained = lambda name, **options: load_processor(str(name), **options)
    run()


def _healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as reply:
            return bool(reply.status == 200)
    except (URLError, OSError):
        return False


if __name__ == "__main__":
    main()
