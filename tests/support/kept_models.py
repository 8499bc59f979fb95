"""Models that the runs of a test session share: loading them is most of a short run's work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from testbed.run.plan import KEPT_MODELS
from tests.support.made_up_profile import MADE_UP


@contextmanager
def kept_models() -> Iterator[None]:
    """Let all runs use one process for their models, as a user with SPACEVERSE_MODELS does."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = Path(folder) / "models.sock"
        process = subprocess.Popen([sys.executable, "-m", "nodes.vlm.shared", "--socket", str(path)])
        try:
            patch.setenv(KEPT_MODELS, str(path))
            profile_file().write_text(json.dumps(MADE_UP))
            yield
        finally:
            process.terminate()
            process.wait()


def answers_folder() -> Path:
    """Folder of the answers that runs of the session have in common, where they ask for it."""
    return _folder() / "answers"


def profile_file() -> Path:
    """Profile of the machine at whose pace these answers are given."""
    return _folder() / "profile.json"


def _folder() -> Path:
    return Path(os.environ[KEPT_MODELS]).parent
