"""`spaceverse export czml`, `kml` and `oem`: satellites, stations and contacts for globes and orbit tools."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nodes.contract.topics import slug
from testbed.cli.export.folder import add_folder_options, write_files
from testbed.cli.parser import refuse
from testbed.cli.terminal.messages import say
from testbed.cli.trace.output_options import add_output_options, check_replaceable, report_stream, wrote
from testbed.export.extras import check_package
from traces.orbits.tle import FLOCK_TLE
from traces.output_file import replacing

if TYPE_CHECKING:
    from testbed.export.scene import Scene

_CZML = """examples:
  spaceverse export czml topologies/dove_pass.py -o pass.czml
  spaceverse export czml runs/20261123T120000-dove_pass -o run.czml
  spaceverse trace passes --satellite "FLOCK 2P-1" --station all --csv \\
      > passes.csv
  spaceverse export czml passes.csv -o passes.czml
"""
_KML = """examples:
  spaceverse export kml topologies/dove_pass.py -o pass.kml
  spaceverse export kml runs/20261123T120000-dove_pass -o run.kml
"""
_OEM = """examples:
  spaceverse export oem topologies/relay.py -o ephemeris/
"""
_SOURCES = """
SOURCE is the folder of a run, a scenario (.py or .json), a trace, or a table of `spaceverse trace passes
--csv`. Links that follow a recording have no positions and are left out.
"""


def add_parser(subparsers: Any) -> None:
    """Add the subcommands `czml`, `kml` and `oem`."""
    for name, text, examples, text_of in (
        ("czml", "write CZML for Cesium: paths, stations with circles, contacts, images", _CZML, _czml),
        ("kml", "write KML for Google Earth: tracks, stations, contacts, images", _KML, _kml),
    ):
        parser = _parser(subparsers, name, text, examples)
        add_output_options(parser, text="file to write")
        parser.set_defaults(run=partial(_write_text, text_of=text_of))
    parser = _parser(subparsers, "oem", "write positions of satellites as CCSDS ephemeris messages", _OEM)
    add_folder_options(parser, "folder to write a file per satellite to")
    parser.set_defaults(run=_write_messages)


def _parser(subparsers: Any, name: str, text: str, examples: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        name, help=text, description=f"{text[0].upper()}{text[1:]}.", epilog=examples + _SOURCES
    )
    parser.add_argument("source", type=Path, metavar="SOURCE", help="run, scenario, trace or table of passes")
    parser.add_argument(
        "--tle",
        type=Path,
        default=FLOCK_TLE,
        metavar="FILE",
        help="element sets of a table of passes (default: those of `spaceverse trace passes`)",
    )
    return parser


def _write_text(arguments: argparse.Namespace, text_of: Callable[[Scene], str]) -> int:
    check_replaceable(arguments)
    text = text_of(_scene(arguments))
    with replacing(arguments.output, force=arguments.force) as part:
        part.write_text(text, encoding="utf-8")
    say(wrote(arguments.output), report_stream(arguments.output))
    return 0


def _write_messages(arguments: argparse.Namespace) -> int:
    from testbed.export.oem_file import oem_text

    scene, now = _scene(arguments), datetime.now(timezone.utc)
    files = {f"{slug(one.name)}.oem": oem_text(scene, one, now).encode() for one in scene.satellites}
    write_files(arguments.output, files, force=arguments.force)
    return 0


def _scene(arguments: argparse.Namespace) -> Scene:
    from testbed.export.sources import is_pass_table, read_scene  # the command line starts without orbits

    if not is_pass_table(arguments.source):
        refuse(arguments, "unless SOURCE is a table of passes: other sources hold their elements", "tle")
    return read_scene(arguments.source, arguments.tle)


def _czml(scene: Scene) -> str:
    check_package("czml3", "CZML")
    from testbed.export.czml import czml_text

    return czml_text(scene)


def _kml(scene: Scene) -> str:
    from testbed.export.kml import kml_text

    return kml_text(scene)
