"""Element sets of a file are parsed once, and again when the file has changed."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import pytest

from testbed.scenario import elements
from traces.errors import TleError
from traces.orbits.tle import FLOCK_TLE

START = datetime(2018, 1, 20, tzinfo=timezone.utc)


def test_a_file_is_parsed_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, read = tmp_path / "two.tle", []
    lines = FLOCK_TLE.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:3]))
    real = elements.read_elements
    monkeypatch.setattr(elements, "read_elements", lambda file: (read.append(file), real(file))[1])
    assert elements.element_sets_of(path, START) == elements.element_sets_of(path, START)
    assert len(read) == 1
    path.write_text("".join(lines[:6]))
    assert len(elements.element_sets_of(path, START)) == 2


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TleError, match=r"none\.tle"):
        elements.element_sets_of(tmp_path / "none.tle", START)
