"""`spaceverse report` compares finished runs from their folders."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from testbed.cli.main import main
from tests.unit.testbed.cli.scenario.test_comparison import ANSWERED, results, scenario


def _folder(path: Path, policy: str, end_to_end_s: float, answer: str) -> Path:
    path.mkdir(parents=True)
    (path / "scenario.json").write_text(scenario().with_policy(policy).model_dump_json())
    frame = replace(ANSWERED, end_to_end_s=end_to_end_s, answer=answer)
    (path / "results.json").write_text(json.dumps(results(frame).to_json()))
    return path


def test_finished_runs_stand_side_by_side(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    first = _folder(tmp_path / "a", "spaceverse", 2.0, "yes")
    second = _folder(tmp_path / "b", "ground-only", 5.0, "no")
    assert main(["report", str(first), str(second), str(first)]) == 0
    printed = capsys.readouterr().out
    rows = {words[0]: words[1:] for line in printed.splitlines() if (words := line.split())}
    assert rows["a"] == ["(spaceverse)", "1", "1", "1", "1.00", "(0.21-1.00)", "2", "2.00"]
    assert rows["b"] == ["(ground-only)", "1", "1", "0", "0.00", "(0.00-0.79)", "2", "5.00"]
    assert printed.count("(spaceverse)") == 1, "a run that is named twice is shown once"


@pytest.mark.parametrize(
    ("content", "expected"),
    [(None, "name the folder of a run that has ended"), ('{"frames": [1]}', "lacks the totals of a run")],
)
def test_what_is_not_a_finished_run_is_refused(
    content: str | None, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / "results.json").write_text(content)
    assert main(["report", str(tmp_path)]) == 2
    assert expected in capsys.readouterr().err
