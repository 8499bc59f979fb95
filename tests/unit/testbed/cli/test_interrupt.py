"""Ctrl-C at any moment ends the command with exit code 130."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support import ROOT

PROGRAM = """
import sys
from testbed.cli.terminal.messages import guarded

sys.exit(guarded(lambda: exec("raise KeyboardInterrupt")))
"""


def test_an_interrupt_within_generated_code_has_the_same_exit_code(tmp_path: Path) -> None:
    """Imports execute generated text; Python would end by the signal itself."""
    (tmp_path / "interrupted.py").write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, "-m", "interrupted"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stderr, done.returncode) == ("spaceverse: stopped\n", 130)
