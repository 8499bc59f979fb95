"""The parser of `spaceverse` and of its subcommands."""

from __future__ import annotations

import argparse
import re
import sys
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

from testbed.cli.options_file import OptionsFileParser
from testbed.errors import UsageError

_SHELLS = ("bash", "zsh", "tcsh")
# argparse takes such a word for a value. By its own pattern, "-33.9,18.4,10" and "-04:00" would be options.
_BEGINS_WITH_A_NEGATIVE_NUMBER = re.compile(r"-\.?\d")
_NO_VALUE = re.compile(r"argument (?:-\w/)?(--[\w-]+): expected one argument")


_NOT_GIVEN = object()


def refuse(arguments: argparse.Namespace, reason: str, *names: str) -> None:
    """Refuse options that have no effect beside others.

    Args:
        arguments: of the command line.
        reason: end of the message: with what they have no effect, and what to do.
        names: the options' names in `arguments`.

    Raises:
        UsageError: one of the options was given.
    """
    for name in names:
        if name in arguments.given:
            raise UsageError(f"--{name.replace('_', '-')} has no effect {reason}")


class HelpFormatter(argparse.HelpFormatter):
    """A formatter that wraps paragraphs and keeps indented lines, such as examples, as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs: list[list[str]] = [[]]
        for line in text.splitlines():
            if not line or line.startswith((" ", "exit codes:")) or paragraphs[-1][-1:] == [""]:
                paragraphs.append([])
            paragraphs[-1].append(line)
            if line.startswith(" "):
                paragraphs.append([])
        return "\n".join(
            lines[0]
            if not lines[0] or lines[0].startswith(" ")
            else "\n".join(_wrapped(" ".join(lines), width))
            for lines in paragraphs
            if lines
        )

    def _split_lines(self, text: str, width: int) -> list[str]:
        return _wrapped(" ".join(text.split()), width)


def _wrapped(text: str, width: int) -> list[str]:
    """Wrap text at spaces only: a hyphen may belong to an option or a value that readers copy."""
    return textwrap.wrap(text, width, break_on_hyphens=False)


class CommandParser(OptionsFileParser):
    """A parser with one-line errors and a help that fits the terminal and keeps its examples."""

    def __init__(self, **options: Any) -> None:
        options["formatter_class"] = HelpFormatter
        super().__init__(**options)
        self._negative_number_matcher = _BEGINS_WITH_A_NEGATIVE_NUMBER

    def parse_known_args(  # type: ignore[override]  # the base class has overloads for the namespace's type
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse the command line; unknown arguments are an error of the subcommand, whose help is named.

        Raises:
            UsageError: An argument is unknown; the message suggests a similar option.
            InputError: The options file is unsuitable.
        """
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}{self._suggestion(unknown)}")
        if not any(isinstance(action, argparse._SubParsersAction) for action in self._actions):
            parsed.given = self._given(args)
        return parsed, []

    def _given(self, args: Sequence[str] | None) -> frozenset[str]:
        """Return the names of the options that are on the command line or in the options file."""
        # argparse gives a default only to what a namespace lacks; lists and counts would be added to.
        added_to = (argparse._AppendAction, argparse._CountAction)
        before = {
            action.dest: None if isinstance(action, added_to) else _NOT_GIVEN
            for action in self._actions
            if action.option_strings and action.dest != argparse.SUPPRESS
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # all were shown when the values were read
            parsed, _ = super().parse_known_args(args, argparse.Namespace(**before))
        return frozenset(name for name, value in before.items() if getattr(parsed, name) is not value)

    def _print_message(self, message: str, file: Any = None) -> None:
        """Print help or version; unlike the base class, do not hide that it could not be written."""
        (file or sys.stderr).write(message)

    def _suggestion(self, unknown: Sequence[str]) -> str:
        options = [name for name in self._option_string_actions if name.startswith("--")]
        names = [word.partition("=")[0] for word in unknown if word.startswith("--")]
        nearest = [match for name in names for match in get_close_matches(name, options, n=1, cutoff=0.75)]
        return f" (did you mean {', '.join(nearest)}?)" if nearest else ""

    def error(self, message: str) -> NoReturn:
        """Raise UsageError."""
        if (match := _NO_VALUE.match(message)) is not None:
            message += f", or {match[1]}=VALUE for a value that begins with a minus"
        raise UsageError(f"{message.removeprefix('argument ')}; see {self.prog} --help")


def leaf_parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Yield the parsers of all subcommands that have none of their own."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for subparser in dict.fromkeys(action.choices.values()):
                yield from leaf_parsers(subparser)
            return
    yield parser


def _declare_passed_on(parser: argparse.ArgumentParser) -> None:
    """Replace subcommands that pass their arguments on by parsers that know the options."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, subparser in action.choices.items():
                if (declared := subparser.get_default("completed_as")) is not None:
                    action.choices[name] = declared()


class PrintCompletion(argparse.Action):
    """An option that prints a script for shell completion and exits."""

    def __init__(self, **options: Any) -> None:
        super().__init__(choices=_SHELLS, nargs=None, default=argparse.SUPPRESS, **options)

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Print the script of the whole command line."""
        import shtab  # only here: no other command pays for it

        _declare_passed_on(parser)
        for leaf in leaf_parsers(parser):
            for action in leaf._actions:
                if action.type is Path:
                    folder = action.metavar == "DIR"
                    action.complete = shtab.DIRECTORY if folder else shtab.FILE  # type: ignore[attr-defined]
        sys.stdout.write(shtab.complete(parser, shell=str(values)))
        parser.exit()
