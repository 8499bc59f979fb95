"""`spaceverse trace plot`: draw a trace."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from testbed.cli.terminal.messages import say
from testbed.cli.trace.output_options import add_output_options, check_replaceable, report_stream, wrote
from testbed.cli.trace.reading import read_trace_or_recording

_EXAMPLES = """examples:
  spaceverse trace plot pass.csv -o pass.png
  spaceverse trace plot pass.csv -o pass.svg --force
"""


def add_parser(subparsers: Any) -> None:
    """Add the subcommand `plot`."""
    parser = subparsers.add_parser(
        "plot",
        help="draw elevation, rate and delay of a trace",
        description="Draw elevation, rate and delay of a trace.",
        epilog=_EXAMPLES,
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="trace, or recording that needs no options")
    add_output_options(
        parser,
        required=False,
        text="image to write: .png, .svg or .pdf (default: the trace's name with .png)",
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from traces.plot import plot_trace  # matplotlib is slow to import

    if arguments.output is None:
        arguments.output = arguments.file.with_suffix(".png")
    check_replaceable(arguments)
    plot_trace(read_trace_or_recording(arguments.file), arguments.output, force=arguments.force)
    say(wrote(arguments.output), report_stream(arguments.output))
    return 0
