"""`spaceverse live`: replay a finished run in its live page."""

from __future__ import annotations

import argparse
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nodes.contract.strict import problem_text
from nodes.contract.topics import slug
from testbed.cli.live.options import add_address_options
from testbed.cli.terminal.console import console
from testbed.errors import InputError

if TYPE_CHECKING:
    from testbed.live.server import Fact

_EPILOG = """examples:
  spaceverse live runs/20261123T120000-dove_pass
  # from another machine: forward the port, and open the printed address there
  spaceverse live runs/20261123T120000-dove_pass --live-port 8600
  ssh -L 8600:127.0.0.1:8600 HOST

exit codes: 2 the folder is not a run's; 130 stopped by Ctrl-C
"""


def add_parser(subparsers: Any) -> None:
    """Add the subcommand `live`."""
    parser = subparsers.add_parser(
        "live",
        help="replay a finished run in a browser: map, contacts, frames",
        description="Serve the live page of a finished run, with a scrubber for its time, until Ctrl-C.",
        epilog=_EPILOG,
    )
    parser.add_argument("folder", type=Path, metavar="RUN", help="folder of a run")
    add_address_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve the page until the process is interrupted."""
    from testbed.live.server import LOOPBACK

    _serve(arguments.folder, arguments.live_host or LOOPBACK, arguments.live_port or 0)
    return 0


def _serve(folder: Path, host: str, port: int) -> None:
    from testbed.live.server import PageServer

    with PageServer(_facts(folder), host=host, port=port) as server:
        console().print(f"replay: {server.url}", soft_wrap=True)
        threading.Event().wait()


def _facts(path: Path) -> dict[str, Fact]:
    """Return what the page shows of a finished run. Raises InputError for a folder that is not one's."""
    from testbed.live.description import Flight  # NumPy and the orbits are slow to import
    from testbed.live.facts import run_facts
    from testbed.live.measured import measured
    from testbed.run.folder import RunFolder
    from testbed.run.traces import orbits_of, places_of
    from testbed.scenario.model import Scenario
    from traces.trace_file import read_trace

    folder = RunFolder(path)
    try:
        scenario = Scenario.model_validate_json(folder.scenario.read_bytes())
        has_events = folder.events.stat().st_size > 0
    except OSError as error:
        raise InputError(f"{path} is not the folder of a run: {error.filename}: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{folder.scenario} is no scenario: {problem_text(error)}") from error
    if not has_events:
        raise InputError(f"{folder.events} is empty: the run has not begun")
    files = {link.name: folder.traces / f"{slug(link.name)}.csv" for link in scenario.network_links}
    traces = {name: read_trace(file) for name, file in files.items() if file.exists()}
    if not traces:
        raise InputError(f"{folder.traces} has no traces: the folder of the run is not complete")
    flight = Flight(traces, orbits_of(scenario), places_of(scenario))
    return {
        **run_facts(scenario, flight, lambda: folder.events, folder.kept),
        "measured": lambda link: measured(folder.fidelity, link),
        "broker": lambda _: None,
    }
