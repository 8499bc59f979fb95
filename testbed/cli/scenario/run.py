"""`spaceverse run`, and the same command for a scenario file that is executed as a script."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from testbed.cli.live.options import add_live_options, live_page, tcp_port
from testbed.cli.options_file import OptionsFile
from testbed.cli.parser import CommandParser
from testbed.cli.scenario.argument import add_allow_code, scenario_of
from testbed.cli.scenario.comparison import ComparedRun, comparison_table, policies_of, policy_to_compare
from testbed.cli.terminal.console import console
from testbed.cli.terminal.log import add_log_options, logging_as_requested
from testbed.cli.terminal.messages import guarded
from testbed.cli.units import factor
from testbed.export.extras import check_package
from testbed.scenario.file import build_scenario
from testbed.scenario.model import Scenario

if TYPE_CHECKING:
    from rich.console import Console

    from testbed.results.results import Results
    from testbed.run.progress import Progress
    from testbed.run.run import Outcome

_EPILOG = """examples:
  sudo spaceverse run topologies/dove_pass.py
  sudo spaceverse run topologies/dove_pass.py --shaper netem --output /tmp/runs
  # 20 times as fast as real time; every node of the scenario needs a profile
  sudo spaceverse run pass.py --speed 20
  # jump to the next event when idle, else as fast as this machine can
  sudo spaceverse run day.py --skip-idle --speed auto
  # repeat a run
  sudo spaceverse run runs/20261123T120000-dove_pass/scenario.json
  sudo spaceverse run topologies/dove_pass.py --json | jq .totals
  # watch the run in a browser
  sudo spaceverse run topologies/dove_pass.py --live
  # the same pass again under another policy, and both in one table
  sudo spaceverse run topologies/dove_pass.py --compare ground-only
  # captures of both ends of a link, in the run's folder
  sudo spaceverse run topologies/dove_pass.py \\
      --capture-link "FLOCK 2P-1 - Svalbard"
  # metrics for Prometheus (spaceverse export dashboard has panels for Grafana)
  sudo spaceverse run day.py --metrics-port 9101
  # options from a file
  sudo spaceverse run job.toml

A file that ends in .toml is a file of options. Options on the command line override it:
  scenario = "topologies/dove_pass.py"
  shaper = "netem"
  output = "/tmp/runs"

The first line of the result begins with PASSED or FAILED; results.json has the same under "verdict".
exit codes: 0 every frame was answered, or dropped by its policy; 1 a frame failed or has no answer, or the
run failed; 2 the scenario is invalid or cannot run here; 130 stopped by Ctrl-C
"""


def add_parser(subparsers: Any) -> None:
    """Add the subcommand `run`."""
    parser = subparsers.add_parser(
        "run",
        help="run a scenario: hosts, links, programs and models; show where the time went",
        description="Run a scenario in real time, or faster. Needs root. Removes everything that it creates.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "scenario",
        type=Path,
        action=OptionsFile,
        metavar="FILE",
        help="scenario (.py file with a function scenario(), or .json file), or file of options (.toml)",
    )
    add_allow_code(parser, "the run")
    _add_options(parser)
    parser.set_defaults(run=lambda arguments: _run(scenario_of(arguments), arguments))


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--shaper", choices=["auto", "nfqueue", "netem"], help="link shaper (default: the scenario's)"
    )
    parser.add_argument(
        "--speed",
        type=factor,
        metavar="FACTOR",
        help="run faster than real time, 1 to 1000 times, or auto: as fast as this machine can (default: the "
        "scenario's, or 1); rates, delays and profiles scale with it; results are in scenario time",
    )
    parser.add_argument(
        "--skip-idle",
        action="store_true",
        default=None,
        help="jump to the next event whenever no node has anything to do (default: as the scenario says)",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("runs"),
        metavar="DIR",
        help="parent of the run's folder (default: runs)",
    )
    parser.add_argument(
        "--json", action="store_true", help="print JSON: the content of results.json; with --compare a list"
    )
    parser.add_argument(
        "--compare",
        action="append",
        type=policy_to_compare,
        metavar="POLICY",
        help="run the scenario again with this policy on all satellites, and compare; may be repeated",
    )
    parser.add_argument(
        "--capture-link",
        action="append",
        metavar="LINK",
        help="keep the packets at both ends of a link as pcap files, such as 'FLOCK 2P-1 - Svalbard'; may be "
        "repeated",
    )
    parser.add_argument(
        "--metrics-port",
        type=tcp_port,
        metavar="N",
        help="serve metrics for Prometheus at http://127.0.0.1:N/metrics while the scenario runs",
    )
    add_live_options(parser)


def run_as_script(scenario: Callable[[], Scenario], argv: Sequence[str] | None = None) -> int:
    """Run the scenario of a file that is executed as a script, with the options of `spaceverse run`.

    The last line of the file is `raise SystemExit(run_as_script(scenario))`.

    Args:
        scenario: function that returns the scenario; its docstring describes the script in `--help`.
        argv: command-line arguments; those of the process if None.

    Returns:
        The exit code.
    """

    def run() -> int:
        parser = CommandParser(description=(scenario.__doc__ or "Run this scenario.") + " Needs root.")
        _add_options(parser)
        add_log_options(parser)
        arguments = parser.parse_args(argv)
        with logging_as_requested(arguments):
            return _run(build_scenario(scenario, sys.argv[0]), arguments)

    return guarded(run)


def _run(scenario: Scenario, arguments: argparse.Namespace) -> int:
    if arguments.shaper:
        scenario = scenario.model_copy(update={"shaper": arguments.shaper})
    if arguments.capture_link:
        scenario = scenario.capturing(arguments.capture_link)
    compared = arguments.compare or []
    scenarios = [scenario, *map(scenario.with_policy, compared)]
    terminal = console(stderr=arguments.json)
    flown: list[tuple[Scenario, Results]] = []
    exit_code = 0
    for one in scenarios:
        if compared:
            terminal.print(f"policy {policies_of(one)}", style="bold", soft_wrap=True)
        outcome = _run_one(one, terminal, arguments)
        exit_code = max(exit_code, outcome.exit_code)
        if outcome.results is None:
            return outcome.exit_code
        flown.append((one, outcome.results))
    if arguments.json:
        contents = [results.to_json() for _, results in flown]
        print(json.dumps(contents if compared else contents[0], indent=2))
    elif compared:
        runs = [ComparedRun.of(policies_of(one), results.to_json()) for one, results in flown]
        terminal.print(comparison_table(runs))
    return exit_code


def _run_one(scenario: Scenario, terminal: Console, arguments: argparse.Namespace) -> Outcome:
    """Run a scenario, and show its results and where they are."""
    from testbed.results.table import results_table
    from testbed.run.run import run_scenario  # rich and Mininet are slow to import

    with _progress(terminal, arguments.metrics_port) as progress:
        outcome = run_scenario(
            scenario,
            arguments.output,
            progress,
            speed=arguments.speed,
            skip_idle=arguments.skip_idle,
            live=live_page(arguments),
        )
    if outcome.results is None:
        return outcome
    if arguments.json:
        terminal.print(outcome.results.verdict.headline, soft_wrap=True)
    else:
        terminal.print(results_table(outcome.results, terminal.width))
    terminal.print(f"report: {outcome.folder.report}", style="bold", soft_wrap=True)
    return outcome


@contextmanager
def _progress(terminal: Console, metrics_port: int | None) -> Iterator[Progress]:
    """Yield what shows a run: the terminal, and the metrics if there is a port for them."""
    from testbed.run.progress import SeveralProgress, TerminalProgress

    if metrics_port is None:
        yield TerminalProgress(terminal)
        return
    check_package("prometheus_client", "--metrics-port")
    from testbed.export.metrics import metrics_endpoint

    with metrics_endpoint(metrics_port) as metrics:
        yield SeveralProgress(TerminalProgress(terminal), metrics)
