"""Models that the runs of a test session share: loading them is most of a short run's work."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from testbed.run.plan import KEPT_MODELS


@contextmanager
def kept_models() -> Iterator[None]:
    """Let all runs use one process for their models, as a user with SPACEVERSE_MODELS does."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = Path(folder) / "models.sock"
        process = subprocess.Popen([sys.executable, "-m", "nodes.vlm.shared", "--socket", str(path)])
        try:
            patch.setenv(KEPT_MODELS, str(path))
            yield
        finally:
            process.terminate()
            process.wait()
