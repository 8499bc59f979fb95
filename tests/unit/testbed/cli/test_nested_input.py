"""Files that are nested without end are refused in one line, like other bad input."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nodes.data.pairs import read_pairs
from nodes.errors import DataError, ModelError
from nodes.policies import flying_policy
from nodes.vlm.folder import check_model_folder
from nodes.vlm.views import read_views
from testbed.boards.inventory import read_inventory
from testbed.cli.main import main
from testbed.errors import InputError

NESTED = "[" * 100_000


@pytest.mark.parametrize(
    ("name", "read", "error"),
    [
        ("policies.json", lambda path: flying_policy("spaceverse", path), ValueError),
        ("views.json", lambda path: read_views(path.parent), ValueError),
        ("config.json", lambda path: check_model_folder(path.parent), ModelError),
        ("prompts.jsonl", lambda path: read_pairs(path.parent), DataError),
        ("boards.toml", read_inventory, InputError),
    ],
)
def test_a_nested_file_is_named(
    tmp_path: Path, name: str, read: Callable[[Path], object], error: type[Exception]
) -> None:
    path = tmp_path / name
    path.write_text(f"a = {NESTED}" if path.suffix == ".toml" else NESTED)
    with pytest.raises(error) as caught:
        read(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "arguments",
    [["run", "deep.toml"], ["eval", "deep.toml"], ["board", "list", "--boards", "deep.toml"],
     ["run", "deep.json"],
     ["trace", "convert", "deep.json", "-o", "out.csv"], ["trace", "info", "deep.json"],
     ["trace", "passes", "--tle", "deep.json", "--satellite", "X", "--station", "Svalbard"]],
)  # fmt: skip
def test_a_command_says_so_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("deep.toml").write_text(f"a = {NESTED}")
    Path("deep.json").write_text(NESTED)
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("spaceverse: error: deep.") and len(line) < 1000
