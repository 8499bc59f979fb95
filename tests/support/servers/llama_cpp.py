"""llama.cpp's own HTTP server with the shipped compact model: `python -m ... DECODER TOWER PORT`.

The package xllamacpp (34 MB) has llama.cpp with its server as a binary.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.servers.process import fetched, serving

PACKAGES = ("xllamacpp==2026.10.11549", "gguf==0.19.0")
NAME = "compact"
CONTEXT_TOKENS = 1024  # of each request


def fetched_llama_cpp(folder: Path) -> Path:
    """Fetch the packages into a folder; skip the test loudly where they cannot be had."""
    return fetched(folder, "llama.cpp", (), PACKAGES)


@contextmanager
def llama_cpp(packages: Path, files: tuple[Path, Path], port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Serve a model's decoder and vision tower, and yield the process of the server."""
    command = [sys.executable, "-m", __name__, *map(str, files), str(port)]
    with serving(command, packages, port) as process:
        yield process


def main(decoder: str, tower: str, port: str) -> None:
    """Serve until killed."""
    import xllamacpp

    options = xllamacpp.CommonParams()
    options.model.path, options.mmproj.path = decoder, tower
    options.port = int(port)
    options.model_alias = {NAME}
    options.n_parallel, options.n_ctx = 2, 2 * CONTEXT_TOKENS
    options.cpuparams.n_threads = options.cpuparams_batch.n_threads = 1
    options.cache_ram_mib = 0
    options.warmup = False
    server = xllamacpp.Server(options)
    print(server.listening_address, flush=True)
    signal.pause()


if __name__ == "__main__":
    main(*sys.argv[1:])
