"""Options of command lines that say how a model runs; the same for questions, evaluations and profiles."""

from __future__ import annotations

import argparse
from typing import Any, get_args

from pydantic import ValidationError

from nodes.contract.models.options import ModelOptions
from nodes.contract.strict import problem_text

NAMES = {"model_threads": "threads", "max_new_tokens": "tokens"}
"""Options whose name is not that of their field."""


def add_model_options(parser: argparse.ArgumentParser, *, tokens: int, threads: int | None = None) -> None:
    """Add an option for each field of `ModelOptions`.

    Args:
        parser: The command line.
        tokens: Longest answer by default.
        threads: Threads by default; None leaves them to torch.
    """
    add = parser.add_argument_group("how the model runs").add_argument
    add(
        "--device",
        default=_default("device"),
        metavar="DEVICE",
        help="torch device, e.g. cpu or cuda:0 (default: %(default)s)",
    )
    add(
        "--dtype", choices=_choices("dtype"), help="type of the weights (default: as saved; float32 on a CPU)"
    )
    add(
        "--quantisation",
        choices=_choices("quantisation"),
        help="quantise the weights while loading; needs the package bitsandbytes",
    )
    add(
        "--attention-implementation",
        choices=_choices("attention_implementation"),
        metavar="NAME",
        help="eager, sdpa or flash_attention_2 (default: the choice of transformers)",
    )
    add("--min-pixels", type=int, metavar="N", help="enlarge images of fewer pixels to N")
    add("--max-pixels", type=int, metavar="N", help="reduce images of more pixels to N")
    add(
        "--threads",
        type=int,
        default=threads,
        metavar="N",
        help=f"number of torch threads (default: {threads or 'the choice of torch'})",
    )
    add(
        "--tokens",
        type=int,
        default=tokens,
        metavar="N",
        help="maximum number of tokens of an answer (default: %(default)s)",
    )
    add("--revision", metavar="NAME", help="branch, tag or commit of a model from a hub")  # fmt: skip


def model_options_of(arguments: argparse.Namespace) -> ModelOptions:
    """Return what the options say.

    Raises:
        ValueError: A value is unsuitable; the text names the option.
    """
    given: dict[str, Any] = {
        name: getattr(arguments, NAMES.get(name, name)) for name in ModelOptions.model_fields
    }
    try:
        return ModelOptions(**given)
    except ValidationError as error:
        field = str(error.errors()[0]["loc"][0]) if error.errors()[0]["loc"] else ""
        problem = problem_text(error).removeprefix(f"{field}: ")
        option = f"--{NAMES.get(field, field).replace('_', '-')}: " if field else ""
        raise ValueError(f"{option}{problem}") from error


def command_line_of(options: ModelOptions) -> list[str]:
    """Return the arguments that say the same."""
    given = options.model_dump(exclude_none=True)
    return [
        word
        for name, value in given.items()
        for word in (f"--{NAMES.get(name, name).replace('_', '-')}", str(value))
    ]


def _default(field: str) -> Any:
    return ModelOptions.model_fields[field].default


def _choices(field: str) -> tuple[str, ...]:
    literal, _none = get_args(ModelOptions.model_fields[field].annotation)
    return tuple(get_args(literal))
