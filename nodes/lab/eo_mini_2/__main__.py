"""Command line of eo-mini-2: `python -m nodes.lab.eo_mini_2 --help`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from nodes.errors import ModelError
from nodes.lab.command_line import command_parser, run_subcommand, show_gates
from nodes.lab.eo_mini_2.compose import FRAMES, SPLIT_SEEDS

if TYPE_CHECKING:
    from nodes.lab.eo_mini_2.gates import Gate

_EXAMPLES = """examples:
  python -m nodes.lab.eo_mini_2 gates                      the conditions before training: minutes of a core
  python -m nodes.lab.eo_mini_2 gates --compact my_model   those after training, on further validation frames
  python -m nodes.lab.eo_mini_2 confidence --compact my_model    train its confidence heads, and measure them
  python -m nodes.lab.eo_mini_2 write test eo2-test        128 frames of 2688 px and their prompts
  python -m nodes.lab.eo_mini_2 write val eo2-val --frames 8
  python -m nodes.lab.eo_mini_2 pictures                   the pictures of the documentation

exit codes: 0 done; 1 a gate failed; 2 a model cannot be used, or the output cannot be written
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand and return the exit status."""
    parser = command_parser("eo_mini_2", "Draw the benchmark eo-mini-2, and check it.", _EXAMPLES)
    commands = parser.add_subparsers(dest="command", required=True)
    gates = commands.add_parser("gates", help="check the conditions before training")
    gates.add_argument(
        "--fit", type=int, default=200, metavar="N", help="frames to fit detectors on (%(default)s)"
    )
    gates.add_argument(
        "--measure", type=int, default=240, metavar="N", help="frames to measure on (%(default)s)"
    )
    gates.add_argument(
        "--compact", type=Path, metavar="DIR", help="check what this model meets after training, instead"
    )
    gates.add_argument(
        "--regular", type=Path, metavar="DIR", help="with --compact: and the pair with this one"
    )
    gates.add_argument(
        "--sample",
        choices=("val", "test"),
        default="val",
        help="with --compact: measure on further frames like the validation split, or on the test split "
        "(%(default)s)",
    )
    gates.add_argument("--json", action="store_true", help="print JSON instead of the table")
    gates.set_defaults(run=_gates)
    heads = commands.add_parser("confidence", help="train the confidence heads of a pair, and measure them")
    heads.add_argument(
        "--compact", type=Path, required=True, metavar="DIR", help="model; the heads go to DIR/confidence"
    )
    heads.add_argument(
        "--regular", type=Path, metavar="DIR", help="train heads for the agreement with this model as well"
    )
    heads.add_argument(
        "--error-rate",
        type=float,
        default=0.1,
        metavar="SHARE",
        help="share of the prompts on which a threshold may decide wrongly (%(default)s)",
    )
    heads.add_argument("--json", action="store_true", help="print JSON instead of the tables")
    heads.set_defaults(run=_confidence)
    writing = commands.add_parser("write", help="write a split: frames, prompts.jsonl, scenes.jsonl")
    writing.add_argument("split", choices=sorted(SPLIT_SEEDS), help="name of the split")
    writing.add_argument("folder", type=Path, help="new folder")
    writing.add_argument("--frames", type=int, metavar="N", help="number of frames (default: the split's)")
    writing.set_defaults(run=_write)
    pictures = commands.add_parser("pictures", help="draw twelve frames for the documentation")
    pictures.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("docs/images/eo-mini-2"),
        metavar="DIR",
        help="folder (default: %(default)s)",
    )
    pictures.set_defaults(run=_pictures)
    return run_subcommand(parser, arguments, (OSError, ModelError, ValueError))


def _gates(options: argparse.Namespace) -> int:
    if options.regular and not options.compact:
        raise ValueError("--regular needs --compact: the gates after training are those of a pair")
    found = _after_training(options) if options.compact else _before_training(options)
    return show_gates([asdict(gate) for gate in found], as_json=options.json)


def _before_training(options: argparse.Namespace) -> list[Gate]:
    from rich.progress import Progress

    from nodes.lab.eo_mini_2.gates import check

    with Progress(transient=True) as bar:
        task = bar.add_task("frames", total=4 * (options.fit + options.measure) + FRAMES["test"])
        return check("test", options.fit, options.measure, lambda: bar.advance(task))


def _after_training(options: argparse.Namespace) -> list[Gate]:
    from rich.progress import Progress

    from nodes.lab.eo_mini_2.trained.gates import check_trained, fitting_scenes, measured_scenes
    from nodes.lab.eo_mini_2.trained.outcomes import outcomes_of

    fitting, measured = fitting_scenes(), measured_scenes(options.sample)
    name = "test" if options.sample == "test" else "further"
    with Progress(transient=True) as bar:
        task = bar.add_task("frames", total=None)

        def advance() -> None:
            bar.advance(task)

        fit = outcomes_of(options.compact, "val", fitting, advance)
        compact = outcomes_of(options.compact, name, measured, advance)
        regular = outcomes_of(options.regular, name, measured, advance) if options.regular else None
    return check_trained(compact, regular, fit)


def _confidence(options: argparse.Namespace) -> int:
    from rich.progress import Progress

    from nodes.lab.eo_mini_2.trained.confidence import train_confidence
    from nodes.lab.eo_mini_2.trained.confidence_tables import show

    with Progress(transient=True) as bar:
        task = bar.add_task("frames", total=None)
        trained = train_confidence(
            options.compact, options.regular, options.error_rate, lambda: bar.advance(task)
        )
    show(trained, as_json=options.json)
    return 0


def _write(options: argparse.Namespace) -> int:
    from rich.progress import Progress

    from nodes.lab.eo_mini_2.compose import draw_scenes
    from nodes.lab.eo_mini_2.files import write

    count = options.frames or FRAMES[options.split]
    with Progress(transient=True) as bar:
        task = bar.add_task("frames", total=count)
        prompts = write(draw_scenes(options.split, count), options.folder, lambda: bar.advance(task))
    print(f"{options.folder}: {prompts} prompts about {count} frames")
    return 0


def _pictures(options: argparse.Namespace) -> int:
    from nodes.lab.eo_mini_2.files import draw_pictures

    for path in draw_pictures(options.output):
        print(path)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
