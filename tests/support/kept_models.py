"""Models that the runs of a test session share: loading them is most of a short run's work."""

from __future__ import annotations

import os
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
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "models.sock"
        with subprocess.Popen([sys.executable, "-m", "nodes.vlm.shared", "--socket", str(path)]) as process:
            os.environ[KEPT_MODELS] = str(path)
            try:
                yield
            finally:
                del os.environ[KEPT_MODELS]
                process.terminate()


@pytest.fixture(scope="session", autouse=True)
def models_of_all_runs() -> Iterator[None]:
    """Import this into a conftest."""
    with kept_models():
        yield
