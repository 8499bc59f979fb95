"""`spaceverse ask`: ask a vision-language model about an image.

The program `nodes.ask` does the work and declares the options. It is a child process, because nothing in the
testbed imports torch.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from typing import Any

_PROGRAM = "from nodes.ask import main; raise SystemExit(main(program='spaceverse ask'))"
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
    parser.set_defaults(run=_run)


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
