"""`transformers serve` with a shipped model, in an environment of its own beside this one's torch.

What it needs beyond a node's packages (25 MB) is fetched into a folder. It needs no torch of its own.

Qwen2-VL's processor needs torchvision, of which the package indexes have no build for each torch. Without it
the server loads processors as nodes do, without the part for videos; all else is as it comes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.support.servers.process import fetched, serving

NEEDS = ("fastapi", "uvicorn", "openai")
WITHOUT_THEIR_NEEDS = ("accelerate",)  # which would fetch another torch


def fetched_transformers_serve(folder: Path) -> Path:
    """Fetch the packages into a folder; skip the test loudly where they cannot be had."""
    return fetched(folder, "transformers serve", NEEDS, WITHOUT_THEIR_NEEDS)


@contextmanager
def transformers_serve(packages: Path, model: Path, port: int) -> Iterator[str]:
    """Serve a model and yield the URL with its path."""
    command = [sys.executable, "-m", "tests.support.servers.transformers_serve", "serve", str(model)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu", "--dtype", "float32"]
    with serving(command, packages, port):
        yield f"http://127.0.0.1:{port}/v1"


def main() -> None:
    """Run the command `transformers`."""
    import transformers
    from transformers.cli.transformers import main as run

    from nodes.vlm.processor import load_processor

    if find_spec("torchvision") is None:
        automatic: Any = transformers.AutoProcessor
        automatic.from_pretrained = lambda name, **options: load_processor(str(name), **options)
    run()


if __name__ == "__main__":
    main()
