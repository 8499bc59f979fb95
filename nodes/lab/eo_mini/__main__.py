"""Command line of eo-mini: `python -m nodes.lab.eo_mini --help`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from nodes.data import EO_MINI, FIRST_LIGHT
from nodes.lab.command_line import command_parser, run_subcommand, show_gates
from nodes.lab.eo_mini.gates import SplitError, check, read_lines
from nodes.lab.eo_mini.packages import DEFAULT_CACHE, SourceError
from nodes.lab.eo_mini.places import BANDS_DEG

_EXAMPLES = """examples:
  python -m nodes.lab.eo_mini build                                 rebuild the shipped test split in place
  python -m nodes.lab.eo_mini build --split train --output train/   1600 frames, about 5 minutes
  python -m nodes.lab.eo_mini check                                 check the shipped test split
  python -m nodes.lab.eo_mini check train/ --split train --json
  python -m nodes.lab.eo_mini first-light                           select the frames of a first run

exit codes: 0 done; 1 a gate failed; 2 the input cannot be used
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand and return the exit status."""
    parser = command_parser(
        "eo_mini", "Build the benchmark eo-mini from imagery in public packages, and check it.", _EXAMPLES
    )
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="draw a split and write it")
    build.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="DIR",
        help="output folder (default for test: the shipped one)",
    )
    build.add_argument("--frames", type=int, metavar="N", help="number of frames (default: the split's)")
    build.add_argument(
        "--seed", type=int, default=0, metavar="N", help="random seed of the split (default: %(default)s)"
    )
    build.add_argument(
        "--cache",
        type=Path,
        default=DEFAULT_CACHE,
        metavar="DIR",
        help="cache of downloaded imagery (default: %(default)s)",
    )
    build.set_defaults(run=_build)
    checking = commands.add_parser("check", help="check a split against the gates")
    checking.add_argument(
        "folder",
        type=Path,
        nargs="?",
        default=EO_MINI,
        metavar="DIR",
        help="folder of the split (default: the shipped test split)",
    )
    checking.add_argument("--json", action="store_true", help="print JSON instead of the table")
    checking.set_defaults(run=_check)
    first = commands.add_parser("first-light", help="select the frames of a first run from the shipped split")
    first.set_defaults(run=_first_light)
    for command in (build, checking):
        command.add_argument(
            "--split",
            choices=sorted(BANDS_DEG),
            default="test",
            help="name of the split (default: %(default)s)",
        )
    return run_subcommand(parser, arguments, (SourceError, SplitError))


def _build(options: argparse.Namespace) -> int:
    from rich.progress import Progress

    from nodes.lab.eo_mini.build import FRAMES, draw_frames, write
    from nodes.lab.eo_mini.card import data_card
    from nodes.lab.eo_mini.sources import open_sources

    if options.output is None and options.split != "test":
        raise SplitError(f"the {options.split} split is not shipped: pass an output folder with --output")
    folder = options.output or EO_MINI
    count = options.frames or FRAMES[options.split]
    with Progress() as bar:
        task = bar.add_task(f"{options.split} frames", total=count)
        frames = draw_frames(open_sources(options.cache), options.split, count, options.seed)
        lines = write(frames, folder, lambda: bar.advance(task))
    (folder / "DATA-CARD.md").write_text(data_card(options.split, options.seed, lines), encoding="utf-8")
    print(f"{folder}: {len(lines)} prompts about {count} frames")
    return 0


def _first_light(_: argparse.Namespace) -> int:
    from nodes.lab.eo_mini.first_light import choose_first_light

    for line in choose_first_light(EO_MINI, FIRST_LIGHT):
        print(f"{line['frame']}: {line['prompt']} ({line['truth']})")
    return 0


def _check(options: argparse.Namespace) -> int:
    from rich.progress import Progress

    lines = read_lines(options.folder)
    with Progress(transient=True) as bar:
        task = bar.add_task("detectors", total=2 * len({line["frame"] for line in lines}))
        gates = check(options.folder, options.split, lambda: bar.advance(task))
    return show_gates([asdict(gate) for gate in gates], as_json=options.json)


if __name__ == "__main__":
    raise SystemExit(main())
