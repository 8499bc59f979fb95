"""The log of a command: on stderr with -v, in a file with --log-file. stdout is for results only."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from testbed.errors import InputError

_PACKAGES = ("testbed", "traces", "nodes")
_TERMINAL_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_FILE_FORMAT = "%(asctime)s %(levelname)s %(process)d %(threadName)s %(name)s: %(message)s"


def add_log_options(parser: argparse.ArgumentParser) -> None:
    """Add -v and --log-file; they may stand before or after the name of a subcommand."""
    group = parser.add_argument_group("log")
    group.add_argument(
        "-v",
        "--verbose",
        action="count",
        default=argparse.SUPPRESS,
        help="log each step to stderr; -vv logs details such as every command that is started",
    )
    group.add_argument(
        "--log-file",
        type=Path,
        metavar="FILE",
        default=argparse.SUPPRESS,
        help="append the log to this file, with all details",
    )


@contextmanager
def logging_as_requested(arguments: argparse.Namespace) -> Iterator[None]:
    """Log as the options say while the body runs.

    Raises:
        InputError: the log file cannot be written.
    """
    handlers: list[logging.Handler] = []
    if verbosity := getattr(arguments, "verbose", 0) or 0:
        handlers.append(_handler(_StderrHandler(), _TERMINAL_FORMAT, verbosity))
    if (path := getattr(arguments, "log_file", None)) is not None:
        try:
            handlers.append(_handler(logging.FileHandler(path, encoding="utf-8"), _FILE_FORMAT, 2))
        except OSError as error:
            raise InputError(f"--log-file {path}: {error.strerror}") from error
    loggers = [logging.getLogger(name) for name in _PACKAGES]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        for handler in handlers:
            logger.addHandler(handler)
            logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
            for handler in handlers:
                logger.removeHandler(handler)
        for handler in handlers:
            handler.close()


def _handler(handler: logging.Handler, form: str, verbosity: int) -> logging.Handler:
    formatter = logging.Formatter(form)
    formatter.converter = time.gmtime
    formatter.default_time_format, formatter.default_msec_format = "%Y-%m-%dT%H:%M:%S", "%s.%03dZ"
    handler.setFormatter(formatter)
    handler.setLevel(logging.DEBUG if verbosity > 1 else logging.INFO)
    return handler


class _StderrHandler(logging.Handler):
    """A handler for the current sys.stderr, which a live progress display replaces while it is shown."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        print(self.format(record), file=sys.stderr)
