"""Command-line options from a TOML file: `spaceverse eval job.toml`.

A parser takes such a file as a positional argument with `action=OptionsFile`. The keys of the file are the
names of the parser's options, with underscores or hyphens. Options on the command line override the file.
Values are read as on the command line, so relative paths start at the working directory.

    rates = ["2M", "20M"]
    passes = 1
    quick = true
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import sys
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any

from testbed.errors import InputError

_toml = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
_NEAREST = 3  # names suggested for an unknown key


class OptionsFile(argparse.Action):
    """A positional argument that takes a file of options.

    With `nargs="?"` it takes nothing but a `.toml` file. As a required argument it also stores any other
    value; a `.toml` file must then give the argument's value under the argument's name.
    """

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Store the path; the parser reads the file once it knows all of the command line."""
        if not isinstance(parser, OptionsFileParser):
            raise TypeError(f"{parser.prog} takes a file of options and must be an OptionsFileParser")
        if values is not None and not self.required and not is_options_file(values):
            raise InputError(f"{values}: a file of options must end in .toml")
        setattr(namespace, self.dest, values)


class OptionsFileParser(argparse.ArgumentParser):
    """An argument parser whose options may also come from a TOML file (see OptionsFile).

    Its subparsers are of the same class.
    """

    def parse_known_args(  # type: ignore[override]  # the base class has overloads for the namespace's type
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse the command line over the values of its options file, if it names one.

        Raises:
            InputError: The file cannot be read, or holds an unknown key or an unsuitable value.
        """
        words = sys.argv[1:] if args is None else list(args)
        file_action = next((action for action in self._actions if isinstance(action, OptionsFile)), None)
        if file_action is None:
            return super().parse_known_args(words, namespace)
        with _nothing_required(self._actions):
            first, _ = super().parse_known_args(words, _copied(namespace))
        path = getattr(first, file_action.dest, None)
        if path is None or not is_options_file(path):
            return super().parse_known_args(words, namespace)
        return self._parse_over_file(Path(path), file_action, words, namespace)

    def _parse_over_file(
        self,
        path: Path,
        file_action: OptionsFile,
        words: list[str],
        namespace: argparse.Namespace | None,
    ) -> tuple[argparse.Namespace, list[str]]:
        values = options_from_file(path, self)
        if file_action.required and file_action.dest not in values:
            raise InputError(f"{path}: {file_action.dest!r} is missing")
        # argparse gives a default only to what the namespace lacks: the command line overrides these values.
        filled = argparse.Namespace(**{**vars(_copied(namespace)), **values})
        from_file = [action for action in self._actions if action.dest in values]
        with _nothing_required(from_file):
            parsed, unknown = super().parse_known_args(words, filled)
        for action in from_file:
            # argparse does give an absent positional its default, and the file's path is not the value.
            absent = not action.option_strings and getattr(parsed, action.dest) is action.default
            if absent or action is file_action:
                setattr(parsed, action.dest, values[action.dest])
        return parsed, unknown


def is_options_file(path: str | Path) -> bool:
    """Return whether a path is that of an options file, by its suffix."""
    return Path(path).suffix.lower() == ".toml"


def options_from_file(path: Path, parser: argparse.ArgumentParser) -> dict[str, Any]:
    """Read a parser's options from a TOML file.

    Returns:
        The values by their names in the parser's namespace, converted and checked as on the command line.

    Raises:
        InputError: The file cannot be read, or holds an unknown key or an unsuitable value.
    """
    actions = _actions_by_key(parser)
    values: dict[str, Any] = {}
    for key, raw in _read_toml(path).items():
        name = key.replace("-", "_")
        action = actions.get(name)
        if action is None:
            near = get_close_matches(name, actions, n=_NEAREST)
            known = f"known options: {', '.join(sorted(actions))}"
            hint = f"did you mean {' or '.join(near)}?" if near else known
            raise InputError(f"{path}: unknown option {key!r}; {hint}")
        if action.dest in values:
            raise InputError(f"{path}: {key!r} sets an option that another key sets already")
        try:
            values[action.dest] = _converted(action, name, raw)
        except (TypeError, ValueError, argparse.ArgumentTypeError) as error:
            raise InputError(f"{path}: {key}: {error}") from error
    return values


def _copied(namespace: argparse.Namespace | None) -> argparse.Namespace:
    return argparse.Namespace(**({} if namespace is None else vars(namespace)))


def _actions_by_key(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    actions: dict[str, argparse.Action] = {}
    for action in parser._actions:
        if action.dest == argparse.SUPPRESS or isinstance(action, argparse._SubParsersAction):
            continue
        if isinstance(action, argparse._HelpAction | argparse._VersionAction):
            continue
        if isinstance(action, OptionsFile) and not action.required:
            continue
        long_names = [option[2:] for option in action.option_strings if option.startswith("--")]
        for name in long_names or [action.dest]:
            actions[name.replace("-", "_")] = action
    return actions


def _read_toml(path: Path) -> Mapping[str, Any]:
    try:
        options: dict[str, Any] = _toml.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    except (_toml.TOMLDecodeError, RecursionError) as error:
        raise InputError(f"{path}: not valid TOML: {error}") from error
    return options


def _converted(action: argparse.Action, name: str, raw: Any) -> Any:
    """Return a value as the parser itself would store it. Raises ValueError for one it would refuse."""
    if isinstance(action, argparse.BooleanOptionalAction):
        return _boolean(raw) != name.startswith("no_")
    if isinstance(action, argparse._CountAction):
        if isinstance(raw, bool) or not isinstance(raw, int):
            raise ValueError(f"expected a whole number, not {raw!r}")
        return raw
    if action.nargs == 0:
        return action.const if _boolean(raw) else action.default
    if (
        action.nargs in ("+", "*")
        or isinstance(action.nargs, int)
        or isinstance(action, argparse._AppendAction)
    ):
        return _converted_list(action, raw)
    if isinstance(raw, list):
        raise ValueError("expected one value, not a list")
    return _converted_word(action, raw)


def _boolean(raw: Any) -> bool:
    if not isinstance(raw, bool):
        raise ValueError(f"expected true or false, not {raw!r}")
    return raw


def _converted_list(action: argparse.Action, raw: Any) -> list[Any]:
    if not isinstance(raw, list):
        raise ValueError(f"expected a list, not {raw!r}")
    if action.nargs == "+" and not raw:
        raise ValueError("expected at least one value")
    if isinstance(action.nargs, int) and len(raw) != action.nargs:
        raise ValueError(f"expected {action.nargs} values, not {len(raw)}")
    return [_converted_word(action, entry) for entry in raw]


def _converted_word(action: argparse.Action, raw: Any) -> Any:
    if isinstance(raw, bool | list | dict):
        raise ValueError(f"expected a string or a number, not {raw!r}")
    dated = isinstance(raw, datetime.date | datetime.time)
    text = raw.isoformat() if dated else str(raw)
    value = action.type(text) if callable(action.type) else text
    if action.choices is not None and value not in action.choices:
        raise ValueError(f"{raw!r} is none of {', '.join(map(str, action.choices))}")
    return value


@contextlib.contextmanager
def _nothing_required(actions: Sequence[argparse.Action]) -> Iterator[None]:
    """Make the required ones among some options optional for a while."""
    required = [action for action in actions if action.required and action.option_strings]
    for action in required:
        action.required = False
    try:
        yield
    finally:
        for action in required:
            action.required = True
