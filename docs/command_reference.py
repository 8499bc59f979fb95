"""Writes reference/commands.md from the parsers themselves, when the documentation is built."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

from nodes.ask import parser as ask_parser
from testbed.cli.main import parser

PROGRAMS = """
## Programs of a node

Each has `--help`. They run on a bare board, without the rest of the testbed.

| program | does |
|---|---|
| `python -m nodes.satellite CONFIG` | the satellite's program |
| `python -m nodes.ground CONFIG` | the ground station's program |
| `python -m nodes.agent CONFIG` | waits on a board for runs, and starts the node's program in them |
| `python -m nodes.profile MODEL` | measures each stage of an answer on this machine |
| `python -m nodes.ask MODEL IMAGE PROMPT` | asks a model about an image |
| `python -m nodes.lab.{eo_mini,eo_mini_2,training,evaluation}` | benchmark data, training, evaluation |
"""


def write_command_reference(page: Path) -> None:
    """Write the help of `spaceverse` and of every subcommand, as a person with 90 columns sees it."""
    os.environ["COLUMNS"] = "90"
    sections = ["# Command reference\n"]
    for command in _parsers(parser()):
        level = "#" * min(len(command.prog.split()) + 1, 3)
        sections.append(f"{level} {command.prog}\n\n```text\n{_help(command)}```\n")
    text = "\n".join(sections) + PROGRAMS
    if not page.exists() or page.read_text(encoding="utf-8") != text:
        page.write_text(text, encoding="utf-8")


def _help(command: argparse.ArgumentParser) -> str:
    """Return the help of a command; `spaceverse ask` passes its arguments on to a program."""
    passes_on = command.prog == "spaceverse ask"
    return (ask_parser(command.prog) if passes_on else command).format_help()


def _parsers(command: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield command
    for action in command._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in dict.fromkeys(action.choices.values()):
                yield from _parsers(child)
