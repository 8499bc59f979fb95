"""`spaceverse plan`: contacts, capacity, load and backlog of a scenario, without running it."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from testbed.cli.parser import refuse
from testbed.cli.scenario.argument import add_allow_code, scenario_of
from testbed.cli.terminal.console import console
from testbed.cli.terminal.messages import say
from testbed.cli.trace.output_options import add_output_options, check_replaceable, report_stream, wrote
from traces.output_file import is_stdout

_EPILOG = """examples:
  spaceverse plan topologies/dove_pass.py
  # map with ground tracks, stations and their circles; contacts; backlog
  spaceverse plan topologies/dove_day.py -o day.png
  spaceverse plan topologies/relay.py --contacts
  spaceverse plan topologies/dove_fleet.py --json | jq '.satellites[].load'

The load is the size of all images over what the links carry from the first capture on. Above 1, not every
image can come down whole. The backlog is that of a satellite that sends every image whole, in turn; a policy
that answers on board or reduces images leaves less. Satellites that relay over the same link are planned as
if each had it alone.
"""


def add_parser(subparsers: Any) -> None:
    """Add the subcommand `plan`."""
    parser = subparsers.add_parser(
        "plan",
        help="show contacts, capacity, load and expected backlog of a scenario, and draw its map",
        description="Show contacts, capacity, load and backlog of a scenario without running it. Needs no "
        "root.",
        epilog=_EPILOG,
    )
    parser.add_argument("scenario", type=Path, metavar="FILE", help="scenario (.py or .json file)")
    add_allow_code(parser, "the plan")
    parser.add_argument("--contacts", action="store_true", help="list every contact")
    parser.add_argument("--json", action="store_true", help="print JSON, with every contact")
    add_output_options(parser, required=False, text="picture to draw, with the map: .png, .svg or .pdf")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from testbed.planning.drawing import draw_plan  # rich and orbits are slow to import
    from testbed.planning.plan import plan_of
    from testbed.planning.table import plan_table
    from traces.plot import format_for

    if arguments.json:
        refuse(arguments, "with --json, which lists every contact: omit it", "contacts")
    if arguments.output is not None:
        check_replaceable(arguments)
        format_for(arguments.output)
    plan = plan_of(scenario_of(arguments))
    if arguments.json:
        print(json.dumps(plan.to_json(), indent=2))
    else:
        console(stderr=arguments.output is not None and is_stdout(arguments.output)).print(
            plan_table(plan, contacts=arguments.contacts)
        )
    if arguments.output is not None:
        draw_plan(plan, arguments.output, force=arguments.force)
        say(wrote(arguments.output), sys.stderr if arguments.json else report_stream(arguments.output))
    return 0
