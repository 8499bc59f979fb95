"""Command line of the training: `python -m nodes.lab.training --help`.

Each subcommand imports what it needs, since torch is slow to import.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from nodes.lab.command_line import command_parser, run_subcommand
from nodes.lab.eo_mini.packages import DEFAULT_CACHE, SourceError

_EXAMPLES = """examples:
  python -m nodes.lab.training data                        fetch the imagery, render 6,400 frames (1.7 GB)
  python -m nodes.lab.training train compact
  python -m nodes.lab.training train regular --resume      continue an interrupted training
  python -m nodes.lab.training train compact --seed 1 --output seeds/compact-1
  python -m nodes.lab.training evaluate compact regular    evaluate on the test split, write the cards
  python -m nodes.lab.training evaluate regular --show     the card of its evaluation.csv; no model is run
  python -m nodes.lab.training world-map map.jpg           a small Blue Marble
"""


def main(arguments: list[str] | None = None) -> int:
    """Run one subcommand and return the exit status."""
    parser = command_parser(
        "training", "Render the training data, train the small pair of models, and evaluate it.", _EXAMPLES
    )
    parser.add_argument(
        "--cache",
        type=Path,
        default=DEFAULT_CACHE,
        metavar="DIR",
        help="cache of downloaded imagery and frames (default: %(default)s)",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("data", help="fetch the imagery and render the frames").set_defaults(run=_data)
    _add_train(commands)
    _add_evaluate(commands)
    world_map = commands.add_parser("world-map", help="write a small world map for reports")
    world_map.add_argument("path", type=Path, help="JPEG to write, 1440 x 720")
    world_map.set_defaults(run=_world_map)
    return run_subcommand(parser, arguments, (SourceError,))


def _add_train(commands: Any) -> None:
    parser = commands.add_parser("train", help="train one model of the pair, or the control")
    parser.add_argument("model", choices=("compact", "regular", "regular-reduced"))
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="random seed (default: %(default)s)")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="DIR", help="output folder (default: the shipped model's)"
    )
    parser.add_argument("--resume", action="store_true", help="continue from the folder's training-state.pt")
    parser.add_argument(
        "--threads", type=int, default=1, metavar="N", help="torch threads (default: %(default)s)"
    )
    parser.add_argument(
        "--device",
        metavar="DEVICE",
        help="torch device, e.g. cpu or cuda:0 (default: cuda if available, else cpu with a recipe for it)",
    )
    parser.set_defaults(run=_train)


def _data(options: argparse.Namespace) -> int:
    from nodes.lab.eo_mini.packages import fetch

    for path in fetch(options.cache):
        print(path)
    frames = _frames(options.cache)
    print(f"{frames[0].path.parent.parent}: {len(frames)} frames")
    return 0


def _frames(cache: Path) -> list[Any]:
    """Return all training frames; render missing ones with a progress bar."""
    from rich.progress import Progress

    from nodes.lab.training.examples.frames import FRAMES_PER_SET, SETS, training_frames

    with Progress(transient=True) as bar:
        task = bar.add_task("training frames", total=FRAMES_PER_SET * SETS)
        return training_frames(cache, SETS, lambda count: bar.update(task, completed=count))


def _train(options: argparse.Namespace) -> int:
    import torch
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from nodes.lab.training.architecture import CPU_RECIPES, RECIPES
    from nodes.lab.training.examples.pretraining_windows import pretraining_windows
    from nodes.lab.training.train import Training, bfloat16_is_faster, needs_windows
    from nodes.models import FOLDER

    torch.set_num_threads(options.threads)
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    folder = options.output or FOLDER / options.model
    recipe = (RECIPES | CPU_RECIPES if device == "cpu" else RECIPES)[options.model]
    frames = _frames(options.cache)
    with_windows = needs_windows(recipe, folder, resume=options.resume)
    training = Training(
        recipe,
        frames,
        pretraining_windows(options.cache) if with_windows else None,
        folder,
        seed=options.seed,
        device=device,
        half=device != "cpu" or bfloat16_is_faster(),
        resume=options.resume,
    )
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as bar:
        task = bar.add_task(options.model, total=training.steps)

        def on_step(step: int, steps: int, losses: dict[str, float]) -> None:
            described = " ".join(f"{name} {value:.3f}" for name, value in losses.items())
            bar.update(task, completed=step, description=f"{options.model} {described}")
            if not bar.console.is_terminal and step % 50 == 0:
                bar.console.print(f"{options.model} step {step} of {steps}: {described}", highlight=False)

        progress = training.run(on_step)
    print(f"{folder}: {progress.step} steps, {progress.cpu_s / 60:.1f} CPU minutes")
    return 0


def _add_evaluate(commands: Any) -> None:
    parser = commands.add_parser("evaluate", help="evaluate models on the test split and write their cards")
    parser.add_argument("models", nargs="+", help="compact, regular, or a folder written by `train --output`")
    parser.add_argument("--show", action="store_true", help="only print the card of the last evaluation")
    parser.set_defaults(run=_evaluate)


def _evaluate(options: argparse.Namespace) -> int:
    from nodes.lab.training.evaluate_models import evaluate_folders, show_card
    from nodes.lab.training.examples.frames import SETS, training_prompts
    from nodes.models import FOLDER

    folders = [FOLDER / name if (FOLDER / name).is_dir() else Path(name) for name in options.models]
    if options.show:
        for folder in folders:
            print(show_card(folder))
        return 0
    evaluate_folders(folders, training_prompts(options.cache, SETS), _validation(options.cache))
    return 0


def _validation(cache: Path) -> Path:
    """Return the folder of the val split; render it if it is missing."""
    from nodes.lab.eo_mini.build import FRAMES, draw_frames, write
    from nodes.lab.eo_mini.sources import open_sources

    folder = cache / "val"
    if not (folder / "prompts.jsonl").is_file():
        write(draw_frames(open_sources(cache), "val", FRAMES["val"], 0), folder)
    return folder


def _world_map(options: argparse.Namespace) -> int:
    from PIL import Image

    from nodes.lab.eo_mini.packages import open_rasters

    world = open_rasters(options.cache).marble.resize((1440, 720), Image.Resampling.LANCZOS)
    world.save(options.path, "JPEG", quality=80, optimize=True, progressive=True)
    print(f"{options.path} {options.path.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
