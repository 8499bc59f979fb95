"""`spaceverse ask`: ask a vision-language model about an image.

The program `nodes.ask` does the work and declares the options. It is a child process, because nothing in the
testbed imports torch.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

_PROGRAM = "from nodes.ask import main; raise SystemExit(main(program='spaceverse ask'))"
_DECLARED = """
import json
from pathlib import Path
from nodes.ask import parser
print(json.dumps([
    {"names": a.option_strings or [a.dest], "help": a.help, "metavar": a.metavar, "nargs": a.nargs,
     "choices": a.choices and list(a.choices), "default": a.default, "is_path": a.type is Path}
    for a in parser()._actions
]))
"""
_NO_PREFIX = "\0"  # no argument starts with it, so argparse interprets none of them
_ENDS_WITHIN_S = 1.0  # after Ctrl-C, which a terminal sends to the child as well
_KILLED_AFTER_S = 10.0


def add_parser(subparsers: Any) -> None:
    """Add `ask` to the command line."""
    parser = subparsers.add_parser(
        "ask",
        help="ask a vision-language model about an image",
        add_help=False,
        prefix_chars=_NO_PREFIX,
    )
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    parser.set_defaults(run=_run, completed_as=declared_options)


def declared_options() -> argparse.ArgumentParser:
    """Return a parser with the program's own options, for shell completion."""
    printed = subprocess.run(
        [sys.executable, "-c", _DECLARED], capture_output=True, text=True, check=True
    ).stdout
    parser = argparse.ArgumentParser(prog="spaceverse ask", add_help=False)
    for one in json.loads(printed):
        if one["nargs"] == 0:
            parser.add_argument(*one["names"], action="store_true", help=one["help"])
            continue
        told = {key: one[key] for key in ("help", "metavar", "nargs", "choices", "default")}
        parser.add_argument(*one["names"], type=Path if one["is_path"] else str, **told)
    return parser


def _run(options: argparse.Namespace) -> int:
    """Run the program and return its exit code."""
    # The child unblocks SIGINT once it can end without a traceback.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    with subprocess.Popen([sys.executable, "-c", _PROGRAM, *options.arguments]) as program:
        before = signal.signal(signal.SIGTERM, lambda *_: program.terminate())
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
            code = program.wait()
        except KeyboardInterrupt:
            _interrupt(program)
            raise
        finally:
            signal.signal(signal.SIGTERM, before)
    return code if code >= 0 else 128 - code


def _interrupt(program: subprocess.Popen[bytes]) -> None:
    """End the program after Ctrl-C, whether or not the signal has reached it as well."""
    try:
        program.wait(_ENDS_WITHIN_S)
    except subprocess.TimeoutExpired:
        program.send_signal(signal.SIGINT)
        try:
            program.wait(_KILLED_AFTER_S)
        except subprocess.TimeoutExpired:
            program.kill()
