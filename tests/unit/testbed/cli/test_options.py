"""One spelling, one type and one unit for each option, in all subcommands."""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.cli.main import main, parser
from testbed.cli.parser import CommandParser, leaf_parsers
from testbed.cli.units import DURATION, RATE, SHARE, SIZE, UTC
from testbed.errors import UsageError

# Options that one subcommand may repeat, and others may not.
MAY_BE_REPEATED = {"--satellite", "--station", "--crosslink"}
# A file of results, or the parent of a run's folder.
OUTPUT_METAVARS = {"FILE", "DIR"}


def actions() -> Iterator[tuple[str, argparse.Action]]:
    """Every option of every subcommand, with the subcommand's name."""

    def walk(command: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.Action]]:
        for action in command._actions:
            if isinstance(action, argparse._SubParsersAction):
                for subcommand in action.choices.values():
                    yield from walk(subcommand)
            else:
                yield command.prog, action

    yield from walk(parser())


OF_ANOTHER_PROGRAM = ("spaceverse ask",)  # passes all of its arguments on to `nodes.ask`
ACTIONS = [(prog, action) for prog, action in actions() if not prog.startswith(OF_ANOTHER_PROGRAM)]
OPTIONS = [(prog, action) for prog, action in ACTIONS if action.option_strings]


def by_long_name() -> dict[str, list[tuple[str, argparse.Action]]]:
    named: dict[str, list[tuple[str, argparse.Action]]] = defaultdict(list)
    for prog, action in OPTIONS:
        named[action.option_strings[-1]].append((prog, action))
    return named


@pytest.mark.parametrize(("name", "uses"), sorted(by_long_name().items()))
def test_an_option_means_one_thing(name: str, uses: list[tuple[str, argparse.Action]]) -> None:
    assert len({tuple(action.option_strings) for _, action in uses}) == 1
    assert len({action.type for _, action in uses}) == 1
    metavars = {action.metavar for _, action in uses}
    assert len(metavars) == 1 or (name == "--output" and metavars == OUTPUT_METAVARS)
    kinds = {type(action) for _, action in uses}
    assert len(kinds) == 1 or name in MAY_BE_REPEATED


def test_every_output_is_called_the_same() -> None:
    names = {string for _, action in OPTIONS for string in action.option_strings}
    assert "--out" not in names
    assert all(
        action.option_strings == ["-o", "--output"]
        for _, action in OPTIONS
        if {"-o", "--output"} & set(action.option_strings)
    )


def test_every_option_has_help_and_says_which_value_it_takes() -> None:
    for prog, action in ACTIONS:
        assert action.help, (prog, action.option_strings)
        takes_value = action.nargs != 0 and not isinstance(action, argparse.BooleanOptionalAction)
        if action.option_strings and takes_value:
            assert action.metavar or action.choices, (prog, action.option_strings)


@pytest.mark.parametrize(
    ("metavar", "type_"),
    [("RATE", RATE), ("DURATION", DURATION), ("SHARE", SHARE), ("SIZE", SIZE), ("UTC", UTC)],
)
def test_quantities_are_read_by_one_type_each(metavar: str, type_: object) -> None:
    read_otherwise = {"--weather"}  # a share whose % is required
    for prog, action in OPTIONS:
        if (action.metavar == metavar) != (action.type is type_):
            assert action.option_strings[-1] in read_otherwise, (prog, action.option_strings)


def test_paths_name_a_file_or_a_folder() -> None:
    for prog, action in OPTIONS:
        if action.type is Path:
            assert action.metavar in ("FILE", "DIR"), (prog, action.option_strings)


@pytest.mark.parametrize(
    ("type_", "text", "expected"),
    [
        (RATE, "9600", 9600.0),
        (RATE, "20M", 20e6),
        (RATE, "2MB/s", 16e6),
        (DURATION, "1.5", 1.5),
        (DURATION, "100ms", 0.1),
        (DURATION, "24h", 86400.0),
        (DURATION, "2min", 120.0),
        (SHARE, "35%", 0.35),
        (SIZE, "64kB", 64000),
    ],
)
def test_a_quantity_takes_a_unit_or_is_in_its_si_unit(type_, text: str, expected: float) -> None:
    assert type_(text) == expected


TAKE_ONE_VALUE = [
    (command, action)
    for command in leaf_parsers(parser())
    if "-" in command.prefix_chars
    for action in command._actions
    if action.option_strings and action.nargs is None
]


@pytest.mark.parametrize("value", ["-33.9,18.4,10", "-.5", "-04:00", "-1e3", "-5s", "-90"])
def test_a_value_may_begin_with_a_minus(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for command, option in TAKE_ONE_VALUE:
        stored: set[str] = set()

        def store(text: str, stored: set[str] = stored) -> str:
            stored.add(text)
            return text

        monkeypatch.setattr(option, "type", store)
        monkeypatch.setattr(option, "choices", None)
        for name in option.option_strings:
            stored.clear()
            with contextlib.suppress(UsageError):  # other arguments are missing
                command.parse_args([name, value])
            assert stored == {value}, (command.prog, name)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["trace", "passes", "--station", "-x"],
            "--station: expected one argument, or --station=VALUE for a",
        ),
        (["trace", "cut", "x.csv", "-o", "-x"], "--output: expected one argument, or --output=VALUE for a"),
        (["trace", "record", "--connect", "x", "--step", "1parsec"], "--step: '1parsec' is not a duration"),
        (["replay", "x.csv", "--loss", "101%"], "--loss: '101%' is not a share"),
        (["replay", "x.csv", "--rate", "fast"], "--rate: 'fast' is not a rate"),
        (["replay", "x.csv", "--zone", "CET"], "--zone: 'CET' is not a time zone"),
        (
            ["trace", "make", "--weather", "0.1"],
            "--weather: '0.1' has no unit; write a percentage such as 0.1%",
        ),
        (["trace", "nothing"], "invalid choice: 'nothing'"),
        (["trace", "info"], "required: FILE; see spaceverse trace info --help"),
        (["live", "run", "--live-port", "x"], "--live-port: expected a port from 1 to 65534; got x"),
        ([], "required: SUBCOMMAND; see spaceverse --help"),
    ],
)
def test_a_wrong_command_line_is_one_line(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("spaceverse: error: ")
    assert expected in err
    assert err.count("\n") == 1


def test_help_fits_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for command in leaf_parsers(parser()):
        assert [line for line in command.format_help().splitlines() if len(line) > 80] == []


def test_help_keeps_examples_and_wraps_paragraphs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    examples = "examples:\n  a b     a comment\n  c\n\n"
    epilog = f"{examples}A first line\nand a second one that is long.\nexit codes: 0 yes"
    printed = CommandParser(prog="x", epilog=epilog).format_help()
    assert printed.endswith(f"{examples}A first line and a second one that is\nlong.\nexit codes: 0 yes\n")


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_a_shell_gets_a_completion_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--print-completion", shell])
    assert ended.value.code == 0
    script = capsys.readouterr().out
    assert "spaceverse" in script
    assert ("--rate-cap" in script) or shell == "tcsh"  # shtab completes only one level of subcommands there
    assert "--attention" in script, "of `ask`, which passes its arguments on"


def test_bash_completes_subcommands_and_options(tmp_path: Path) -> None:
    script = tmp_path / "completion.bash"
    script.write_text(
        subprocess.check_output(
            [sys.executable, "-m", "testbed.cli", "--print-completion", "bash"], text=True
        )
    )
    ask = (
        'source "$0"; COMP_WORDS=(spaceverse trace {}); COMP_CWORD=2;'
        ' $(complete -p spaceverse | sed "s/.*-F \\([^ ]*\\).*/\\1/"); echo "${{COMPREPLY[@]}}"'
    )

    def completions(word: str) -> list[str]:
        command = ["bash", "-c", ask.format(word), str(script)]
        return subprocess.check_output(command, text=True).split()

    assert completions("re") == ["record"]
    assert completions("c") == ["cut", "convert"]


def test_places_in_the_south_and_zones_in_the_west(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    passes = ["trace", "passes", "--satellite", "FLOCK 2P-1", "--start", "2018-01-20T00:00:00Z", "--csv"]
    assert main([*passes, "--station", "-33.9,18.4,10"]) == 0
    separate = capsys.readouterr().out
    assert separate.count("-33.9,18.4,10") > 0
    assert main([*passes, "--station=-33.9,18.4,10"]) == 0
    assert capsys.readouterr().out == separate
    recording = tmp_path / "recording.csv"
    recording.write_text("time,down\n2024-05-01T10:00:00,5\n2024-05-01T10:00:01,6\n")
    columns = ["--columns", "time=time:iso,down=down:Mbit/s", "--up-rate", "5M", "--delay", "5ms"]
    output = tmp_path / "link.csv"
    assert main(["trace", "convert", str(recording), *columns, "--zone", "-04:00", "-o", str(output)]) == 0
    assert "# start_utc: 2024-05-01T14:00:00Z" in output.read_text()


def test_durations_of_an_evaluation_take_units_and_bare_numbers_are_seconds() -> None:
    def durations_s(*arguments: str) -> tuple[float | None, ...]:
        options = parser().parse_args(["eval", *arguments])
        return options.interval, options.lead, options.within, options.emulated

    assert durations_s() == (2.0, 60.0, 600.0, None)
    bare = durations_s("--interval", "0.5", "--lead", "90", "--within", "120", "--emulated", "28")
    assert bare == (0.5, 90.0, 120.0, 28.0)
    assert durations_s("--interval=500ms", "--lead=1.5min", "--within=2min", "--emulated=28s") == bare


@pytest.mark.parametrize(
    ("text", "warned"), [("20", True), ("999", True), ("1000", False), ("20bit/s", False), ("20M", False)]
)
def test_a_small_rate_without_a_unit_warns_with_the_unit(
    text: str, warned: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "down.mahi").write_bytes(b"1\n1\n2\n3\n100\n150\n199\n200\n")
    line = ["trace", "convert", str(tmp_path / "down.mahi"), "--delay", "5ms", "--up-rate", text]
    assert main([*line, "-o", str(tmp_path / "link.csv")]) == 0
    said = f"warning: a rate of {text} is {text} bit/s; write {text}M for Mbit/s\n" in capsys.readouterr().err
    assert said == warned


def test_a_long_delay_names_its_unit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "down.mahi").write_bytes(b"1\n1\n2\n3\n100\n150\n199\n200\n")
    line = ["trace", "convert", str(tmp_path / "down.mahi"), "-o", str(tmp_path / "link.csv"), "--force"]
    assert main([*line, "--delay", "25"]) == 0
    assert "warning: --delay is 25 s; write 25ms for milliseconds\n" in capsys.readouterr().err
    assert main([*line, "--delay", "25ms"]) == 0
    assert capsys.readouterr().err == ""


def test_a_zone_that_no_time_needs_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "r.csv").write_text("time,down\n2024-05-01T10:00:00Z,5\n2024-05-01T10:00:01Z,6\n")
    columns = ["--columns", "time=time:iso,down=down:Mbit/s", "--up-rate", "5M", "--delay", "5ms"]
    line = ["trace", "convert", str(tmp_path / "r.csv"), *columns, "-o", str(tmp_path / "link.csv")]
    assert main([*line, "--zone", "+01:00"]) == 2
    assert "--zone has no effect: no time in it lacks a zone" in capsys.readouterr().err
    assert main(line) == 0


def test_a_trace_shorter_than_a_second_is_no_contact_plan(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "down.mahi").write_bytes(b"1\n1\n2\n3\n100\n150\n199\n200\n")
    line = ["trace", "convert", str(tmp_path / "down.mahi"), "--delay", "5ms", "--to", "ion"]
    assert main([*line, "-o", str(tmp_path / "plan")]) == 2
    assert "whole second" in capsys.readouterr().err


def test_options_that_were_given_are_known_also_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_text("passes = 3\n")
    given = parser().parse_args(["eval", str(tmp_path / "job.toml"), "--rates", "5M", "-o", "runs"]).given
    assert given == {"passes", "rates", "output"}


def test_quick_changes_only_what_is_not_given() -> None:
    from testbed.cli import eval as command

    options = parser().parse_args(["eval", "--quick", "--passes", "3"])
    with pytest.raises(TypeError):
        options.output = None  # ends it right after the options
        command._run(options)
    assert (options.passes, options.rates, options.limit, options.interval) == (3, [2e6], 16, 10.0)
