"""`spaceverse export dashboard`: the Grafana dashboard of a run's metrics."""

from __future__ import annotations

import argparse
from importlib.resources import files
from typing import Any

from testbed.cli.terminal.messages import say
from testbed.cli.trace.output_options import add_output_options, check_replaceable, report_stream, wrote
from traces.output_file import replacing

_EPILOG = """examples:
  spaceverse export dashboard -o spaceverse.json
  sudo spaceverse run topologies/dove_pass.py --metrics-port 9101
"""


def add_parser(subparsers: Any) -> None:
    """Add the subcommand `dashboard`."""
    parser = subparsers.add_parser(
        "dashboard",
        help="write the Grafana dashboard for the metrics of a run",
        description="Write the Grafana dashboard for the metrics of `spaceverse run --metrics-port`.",
        epilog=_EPILOG,
    )
    add_output_options(parser, text="file to write")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    check_replaceable(arguments)
    dashboard = files("testbed.export") / "data" / "grafana-dashboard.json"
    with replacing(arguments.output, force=arguments.force) as part:
        part.write_bytes(dashboard.read_bytes())
    say(wrote(arguments.output), report_stream(arguments.output))
    return 0
