"""The log goes to stderr or a file when it is requested, and never to stdout."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from testbed.cli.main import main
from testbed.cli.parser import CommandParser
from testbed.cli.terminal.log import add_log_options, logging_as_requested
from testbed.errors import InputError

_LOG = logging.getLogger("testbed.test_log")


def log_all(*words: str) -> None:
    parser = CommandParser()
    add_log_options(parser)
    with logging_as_requested(parser.parse_args(words)):
        _LOG.debug("a detail")
        _LOG.info("a step")


@pytest.mark.parametrize(
    ("words", "expected"), [((), []), (("-v",), ["a step"]), (("-vv",), ["a detail", "a step"])]
)
def test_verbosity_selects_steps_and_details(
    words: tuple[str, ...], expected: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    log_all(*words)
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split("testbed.test_log: ")[1] for line in err.splitlines()] == expected
    _LOG.warning("after the command")
    assert "after the command" not in capsys.readouterr().out


def test_a_log_file_has_all_details_and_is_appended_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run.log"
    for _ in range(2):
        log_all("--log-file", str(path))
    assert capsys.readouterr() == ("", "")
    lines = path.read_text().splitlines()
    assert [line.rpartition(": ")[2] for line in lines] == ["a detail", "a step"] * 2
    assert all(line[10] == "T" and line[23] == "Z" for line in lines)


def test_a_log_file_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--log-file .*: No such file or directory"):
        log_all("--log-file", str(tmp_path / "none" / "run.log"))


@pytest.mark.parametrize("before", [True, False])
def test_the_options_stand_before_or_after_the_subcommand(
    before: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options, command = ["-v", "--log-file", str(tmp_path / "x.log")], ["trace", "info", "none.csv"]
    assert main([*options, *command] if before else [*command, *options]) == 2
    assert (tmp_path / "x.log").exists()
    assert "none.csv" in capsys.readouterr().err
