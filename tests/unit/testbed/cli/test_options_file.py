"""Options from a TOML file: what it holds, what the command line overrides, and what is refused."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from testbed.cli.options_file import OptionsFile, OptionsFileParser
from testbed.errors import InputError


def seconds(text: str) -> float:
    if not text.endswith("s"):
        raise argparse.ArgumentTypeError(f"{text!r} is no duration")
    return float(text[:-1])


def parser() -> OptionsFileParser:
    root = OptionsFileParser(prog="spaceverse", exit_on_error=False)
    root.add_argument("--version", action="version", version="1")
    subparsers = root.add_subparsers(required=True)
    evaluate = subparsers.add_parser("eval")
    evaluate.add_argument("job", nargs="?", action=OptionsFile)
    evaluate.add_argument("--rates", nargs="+", default=["1M"])
    evaluate.add_argument("--goal-bytes", type=float)
    evaluate.add_argument("--passes", type=int, default=3)
    evaluate.add_argument("--within", type=seconds, default=600.0)
    evaluate.add_argument("--target", choices=("correctness", "agreement"), default="correctness")
    evaluate.add_argument("--start", "-s", default="now")
    evaluate.add_argument("--quick", action="store_true")
    evaluate.add_argument("--colour", action=argparse.BooleanOptionalAction, default=True)
    evaluate.add_argument("--verbose", "-v", action="count", default=0)
    run = subparsers.add_parser("run")
    run.add_argument("scenario", type=Path, action=OptionsFile)
    run.add_argument("--shaper", choices=("auto", "netem"))
    run.add_argument("--output", type=Path, required=True)
    return root


def parsed(tmp_path: Path, text: str, *words: str, command: str = "eval") -> argparse.Namespace:
    path = tmp_path / "job.toml"
    path.write_text(text)
    return parser().parse_args([command, str(path), *words])


FULL = """
rates = ["2M", "20M"]
goal-bytes = 1500
passes = 1
within = "2.5s"
target = "agreement"
start = 2018-01-20T08:00:00Z
quick = true
no-colour = true
verbose = 2
"""


def test_every_kind_of_option_is_read_as_on_the_command_line(tmp_path: Path) -> None:
    options = parsed(tmp_path, FULL)
    assert options.rates == ["2M", "20M"]
    assert (options.goal_bytes, options.passes, options.within) == (1500.0, 1, 2.5)
    assert isinstance(options.goal_bytes, float)
    assert (options.target, options.start) == ("agreement", "2018-01-20T08:00:00+00:00")
    assert (options.quick, options.colour, options.verbose) == (True, False, 2)


def test_without_a_file_nothing_changes() -> None:
    options = parser().parse_args(["eval", "--passes", "2"])
    assert (options.job, options.passes, options.rates, options.quick) == (None, 2, ["1M"], False)


@pytest.mark.parametrize("key", ["goal_bytes", "goal-bytes"])
def test_a_key_is_written_with_underscores_or_hyphens(tmp_path: Path, key: str) -> None:
    assert parsed(tmp_path, f"{key} = 3").goal_bytes == 3


@pytest.mark.parametrize("before", [True, False])
def test_the_command_line_overrides_the_file(tmp_path: Path, before: bool) -> None:
    path = tmp_path / "job.toml"
    path.write_text('passes = 1\nrates = ["2M"]\ntarget = "agreement"')
    given = ["--rates", "5M", "--passes", "3"]  # 3 is also the default
    words = ["eval", *given, str(path)] if before else ["eval", str(path), *given]
    options = parser().parse_args(words)
    assert (options.passes, options.rates, options.target) == (3, ["5M"], "agreement")


def test_what_the_file_leaves_out_has_its_default(tmp_path: Path) -> None:
    options = parsed(tmp_path, "quick = false")
    assert (options.quick, options.passes, options.within) == (False, 3, 600.0)


def test_the_file_gives_a_required_argument_and_a_required_option(tmp_path: Path) -> None:
    options = parsed(tmp_path, 'scenario = "dove.py"\noutput = "here"\nshaper = "netem"', command="run")
    assert (options.scenario, options.output, options.shaper) == (Path("dove.py"), Path("here"), "netem")


def test_a_required_argument_also_takes_any_other_value() -> None:
    options = parser().parse_args(["run", "dove.py", "--output", "here"])
    assert (options.scenario, options.output) == (Path("dove.py"), Path("here"))


def test_what_is_required_and_given_nowhere_is_still_missed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        parsed(tmp_path, 'scenario = "dove.py"', command="run")
    assert refused.value.code == 2
    assert "--output" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"job\.toml: 'scenario' is missing"):
        parsed(tmp_path, 'output = "here"', command="run")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rate = 2", r"job\.toml: unknown option 'rate'; did you mean rates"),
        ("goal-bites = 2", r"job\.toml: unknown option 'goal-bites'; did you mean goal_bytes"),
        ("help = true", "unknown option 'help'"),
        ("job = 'other.toml'", "unknown option 'job'"),
        ("zzz = 1", "unknown option 'zzz'; known options: ([a-z_]+, )+[a-z_]+$"),
        ("passes = 'many'", "passes: .*'many'"),
        ("passes = [1]", "passes: expected one value, not a list"),
        ("passes = true", "passes: expected a string or a number, not True"),
        ("rates = '2M'", "rates: expected a list, not '2M'"),
        ("rates = []", "rates: expected at least one value"),
        ("quick = 1", "quick: expected true or false, not 1"),
        ("verbose = true", "verbose: expected a whole number, not True"),
        ("within = '2'", "within: '2' is no duration"),
        ("target = 'speed'", "target: 'speed' is none of correctness, agreement"),
        ("goal_bytes = 1\ngoal-bytes = 2", "'goal-bytes' sets an option that another key sets already"),
        ("[eval]\npasses = 1", "unknown option 'eval'"),
        ("passes", r"job\.toml: not valid TOML"),
    ],
)
def test_an_unsuitable_file_is_an_error_of_one_line(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(InputError, match=expected) as refused:
        parsed(tmp_path, text)
    assert "job.toml" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there_or_not_of_options_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.toml: cannot be read"):
        parser().parse_args(["eval", str(tmp_path / "none.toml")])
    with pytest.raises(InputError, match=r"job\.yaml: a file of options must end in \.toml"):
        parser().parse_args(["eval", "job.yaml"])


def test_an_ordinary_parser_is_refused() -> None:
    ordinary = argparse.ArgumentParser()
    ordinary.add_argument("job", nargs="?", action=OptionsFile)
    with pytest.raises(TypeError, match="OptionsFileParser"):
        ordinary.parse_args(["job.toml"])
