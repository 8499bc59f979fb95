"""The wall clock, which somebody may set at any time, decides nothing: who reads it, and what for."""

from __future__ import annotations

import ast
import re
import time

import pytest

from nodes.transfer import files
from tests.support import ROOT

READERS = {
    "nodes/data/scenes.py": "whether a file has changed",
    "nodes/profile.py": "the date in a profile",
    "nodes/transfer/files.py": "ages of files, by the clock before and after a step",
    "nodes/transfer/inbox.py": "order of items that were completed before a restart",
    "nodes/transfer/repeats/kept.py": "order of deletion",
    "nodes/transfer/senders/space.py": "order of deletion; ages by nodes/transfer/files.py",
    "nodes/vlm/shared/host.py": "whether files have changed",
    "testbed/boards/echo_probe.py": "stamps of the kernel, within one echo",
    "testbed/boards/machine_network/journal.py": "whether a file has changed",
    "testbed/boards/wire.py": "stamps of the kernel, within one echo",
    "testbed/cli/export/scenes.py": "the creation date in exported files",
    "testbed/cli/terminal/log.py": "times in a log",
    "testbed/measure/path/record.py": "stamps of the kernel, of two machines; a recording's start",
    "testbed/measure/probe.py": "stamps of the kernel; a probe during which the clock was set is left out",
    "testbed/mqtt/certificates.py": "how long a certificate is valid: 30 days from now",
    "testbed/network/emulation.py": "the date in a trace's header",
    "testbed/network/shapers/nfqueue/played_direction.py": "stamps of the kernel; odd ones are replaced",
    "testbed/replay/replay.py": "the date in a trace's header, which captures are cut by",
    "testbed/scenario/elements.py": "whether a file has changed",
    "testbed/run/folder.py": "the name of a run's folder",
    "testbed/verify/contact_edges.py": "stamps of the kernel",
    "testbed/verify/frames.py": "stamps of the kernel",
    "testbed/verify/link.py": "stamps of the kernel",
    "testbed/verify/pass_measurement.py": "stamps of the kernel",
    "testbed/verify/probe.py": "stamps of the kernel",
}
OF_TIME = {"time", "time_ns", "localtime", "gmtime", "strftime", "ctime", "CLOCK_REALTIME"}
OF_FILES = {"st_mtime", "st_mtime_ns", "st_ctime", "st_ctime_ns", "utcnow", "utime"}
WORDS = re.compile(
    rf"\.({'|'.join(sorted(OF_TIME | OF_FILES | {'now', 'today'}))})\b"
)  # parsing takes longer


def _reads(node: ast.AST) -> bool:
    if not isinstance(node, ast.Attribute):
        return False
    owner = node.value.id if isinstance(node.value, ast.Name) else None
    of_date = owner in ("datetime", "date") and node.attr in ("now", "today")
    return node.attr in OF_FILES or of_date or (owner == "time" and node.attr in OF_TIME)


def test_every_reader_of_the_wall_clock_is_known() -> None:
    readers = {
        str(path.relative_to(ROOT))
        for package in ("nodes", "testbed")
        for path in (ROOT / package).rglob("*.py")
        if WORDS.search(text := path.read_text()) and any(map(_reads, ast.walk(ast.parse(text))))
    }
    assert readers == READERS.keys(), "say what it is for, or use time.monotonic()"


@pytest.mark.parametrize("step_s", [0.0, 7200.0, -7200.0, 61.0, -61.0])
def test_age_of_a_file_is_right_after_the_clock_was_set(
    monkeypatch: pytest.MonkeyPatch, step_s: float
) -> None:
    start_s, ran_s = time.time(), 500.0
    monkeypatch.setattr(files, "_WALL_S", start_s)
    monkeypatch.setattr(time, "monotonic", lambda: ran_s)
    monkeypatch.setattr(time, "time", lambda: start_s + ran_s + step_s)
    assert files.age_s(start_s + ran_s - 10.0) == pytest.approx(10.0)  # written before the step
    assert files.age_s(start_s + ran_s + step_s - 3.0) == pytest.approx(3.0)  # written after it
