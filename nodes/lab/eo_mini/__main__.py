"""Command line of eo-mini: `python -m nodes.lab.eo_mini --help`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from nodes.data import EO_MINI, FIRST_LIGHT
from nodes.lab.eo_mini.gates import Gate, SplitError, check, read_lines
from nodes.lab.eo_mini.packages import DEFAULT_CACHE, SourceError
from nodes.lab.eo_mini.places import BANDS_DEG

_EXAMPLES = """examples:
  python -m nodes.lab.eo_mini build                              the test split, as it ships, where it ships
  python -m nodes.lab.eo_mini build --split train --output train/   1600 frames, some 5 minutes
  python -m nodes.lab.eo_mini check                              the gates, on the split that ships
  python -m nodes.lab.eo_mini check train/ --split train --json
  python -m nodes.lab.eo_mini first-light                        which frames a first run takes

exit codes: 0 done; 1 a gate is not kept; 2 the input cannot be used
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m nodes.lab.eo_mini",
        description="Builds the benchmark eo-mini from imagery that packages ship, and checks it.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="draw a split and write it")
    build.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="DIR",
        help="folder to write (for the test split: where it ships)",
    )
    build.add_argument("--frames", type=int, metavar="N", help="how many (as many as the split has)")
    build.add_argument("--seed", type=int, default=0, help="another seed draws another split (%(default)s)")
    build.add_argument(
        "--cache", type=Path, default=DEFAULT_CACHE, help="where imagery is kept (%(default)s)"
    )
    build.set_defaults(run=_build)
    checking = commands.add_parser("check", help="run the gates on a split")
    checking.add_argument(
        "folder", type=Path, nargs="?", default=EO_MINI, help="the split (the one that ships)"
    )
    checking.add_argument("--json", action="store_true", help="print JSON instead of the table")
    checking.set_defaults(run=_check)
    first = commands.add_parser("first-light", help="choose the frames of a first run among those that ship")
    first.set_defaults(run=_first_light)
    for command in (build, checking):
        command.add_argument("--split", choices=sorted(BANDS_DEG), default="test", help="(%(default)s)")
    given = parser.parse_args(arguments)
    try:
        return int(given.run(given))
    except (SourceError, SplitError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _build(given: argparse.Namespace) -> int:
    from rich.progress import Progress

    from nodes.lab.eo_mini.build import FRAMES, draw_frames, write
    from nodes.lab.eo_mini.card import data_card
    from nodes.lab.eo_mini.sources import open_sources

    if given.output is None and given.split != "test":
        raise SplitError(f"the {given.split} split does not ship: say where to write it with --output")
    folder = given.output or EO_MINI
    count = given.frames or FRAMES[given.split]
    with Progress() as bar:
        task = bar.add_task(f"{given.split} frames", total=count)
        frames = draw_frames(open_sources(given.cache), given.split, count, given.seed)
        lines = write(frames, folder, lambda: bar.advance(task))
    (folder / "DATA-CARD.md").write_text(data_card(given.split, given.seed, lines), encoding="utf-8")
    print(f"{folder}: {len(lines)} prompts about {count} frames")
    return 0


def _first_light(_: argparse.Namespace) -> int:
    from nodes.lab.eo_mini.first_light import choose_first_light

    for line in choose_first_light(EO_MINI, FIRST_LIGHT):
        print(f"{line['frame']}: {line['prompt']} ({line['truth']})")
    return 0


def _check(given: argparse.Namespace) -> int:
    from rich.progress import Progress

    lines = read_lines(given.folder)
    with Progress(transient=True) as bar:
        task = bar.add_task("detectors", total=2 * len({line["frame"] for line in lines}))
        gates = check(given.folder, given.split, lambda: bar.advance(task))
    if given.json:
        print(json.dumps([asdict(gate) for gate in gates], indent=2))
    else:
        _print(gates)
    return 0 if all(gate.kept for gate in gates) else 1


def _print(gates: Sequence[Gate]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("gate", "found", "asked", "")
    for gate in gates:
        table.add_row(gate.name, gate.found, gate.asked, "kept" if gate.kept else "[bold red]MISSED")
    Console().print(table)


if __name__ == "__main__":
    raise SystemExit(main())
