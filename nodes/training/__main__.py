"""Command line of the training: `python -m nodes.training --help`.

Each subcommand imports what it needs: torch is slow to import, and `data` does without it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from nodes.training.sources import DEFAULT_CACHE, SourceError

_EXAMPLES = """examples:
  python -m nodes.training data                        fetch and unpack the imagery (about 35 MB)
  python -m nodes.training train compact               about 20 minutes on one core
  python -m nodes.training train regular --resume      about 35 minutes; goes on where it was interrupted
  python -m nodes.training evaluate compact regular    measure on the test places, write the cards
  python -m nodes.training evaluate regular --show     the numbers of its evaluation.csv, without asking it
  python -m nodes.training first-light                 rebuild the frames that ship
  python -m nodes.training world-map map.jpg           the Blue Marble, small
"""


def main(arguments: list[str] | None = None) -> int:
    """Run one subcommand; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m nodes.training",
        description="Builds the imagery's questions, trains the small pair, measures it.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--cache", type=Path, default=DEFAULT_CACHE, help="where imagery is kept (%(default)s)"
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("data", help="fetch and unpack the imagery").set_defaults(run=_data)
    _add_train(commands)
    _add_evaluate(commands)
    commands.add_parser("first-light", help="build the frames that ship").set_defaults(run=_first_light)
    world_map = commands.add_parser("world-map", help="write a small world map for reports")
    world_map.add_argument("path", type=Path, help="JPEG to write, 1440 x 720")
    world_map.set_defaults(run=_world_map)
    given = parser.parse_args(arguments)
    try:
        return int(given.run(given))
    except SourceError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _add_train(commands: Any) -> None:
    from nodes.training.architecture import RECIPES  # noqa: PLC0415

    parser = commands.add_parser("train", help="train one model of the pair")
    parser.add_argument("model", choices=sorted(RECIPES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="folder for the model (the one that ships)")
    parser.add_argument("--resume", action="store_true", help="go on from the folder's training-state.pt")
    parser.add_argument("--threads", type=int, default=1, help="torch threads (%(default)s)")
    parser.set_defaults(run=_train)


def _data(given: argparse.Namespace) -> int:
    from nodes.training.sources import fetch  # noqa: PLC0415

    for path in fetch(given.cache):
        print(path)
    return 0


def _train(given: argparse.Namespace) -> int:
    import torch  # noqa: PLC0415
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    from nodes.models import FOLDER  # noqa: PLC0415
    from nodes.training.architecture import RECIPES  # noqa: PLC0415
    from nodes.training.sources import open_rasters  # noqa: PLC0415
    from nodes.training.train import train  # noqa: PLC0415

    torch.set_num_threads(given.threads)
    folder = given.out or FOLDER / given.model
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as bar:
        task = bar.add_task(given.model)

        def on_step(step: int, steps: int, losses: dict[str, float]) -> None:
            told = " ".join(f"{name} {value:.3f}" for name, value in losses.items())
            bar.update(task, completed=step, total=steps, description=f"{given.model} {told}")
            if not bar.console.is_terminal and step % 50 == 0:
                bar.console.print(f"{given.model} step {step} of {steps}: {told}", highlight=False)

        rasters = open_rasters(given.cache)
        progress = train(
            RECIPES[given.model], rasters, folder, seed=given.seed, resume=given.resume, on_step=on_step
        )
    print(f"{folder}: {progress.step} steps, {progress.cpu_s / 60:.1f} CPU minutes")
    return 0


def _add_evaluate(commands: Any) -> None:
    parser = commands.add_parser("evaluate", help="measure models on the test places, write their cards")
    parser.add_argument("models", nargs="+", help="compact, regular, or a folder that `train --out` wrote")
    parser.add_argument("--frames", type=int, default=200, help="test frames (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="which test frames are drawn (%(default)s)")
    parser.add_argument("--show", action="store_true", help="only print the card of the last evaluation")
    parser.set_defaults(run=_evaluate)


def _evaluate(given: argparse.Namespace) -> int:
    from nodes.models import FOLDER  # noqa: PLC0415
    from nodes.training.measure import evaluate_folders, show_card  # noqa: PLC0415

    folders = [FOLDER / name if (FOLDER / name).is_dir() else Path(name) for name in given.models]
    if given.show:
        for folder in folders:
            print(show_card(folder))
        return 0
    evaluate_folders(folders, given.cache, frames=given.frames, seed=given.seed)
    return 0


def _first_light(given: argparse.Namespace) -> int:
    from nodes.data import FIRST_LIGHT  # noqa: PLC0415
    from nodes.training.first_light import build_first_light  # noqa: PLC0415
    from nodes.training.questions import training_balance  # noqa: PLC0415
    from nodes.training.sources import open_rasters  # noqa: PLC0415

    rasters = open_rasters(given.cache)
    for path in build_first_light(rasters, training_balance(rasters), FIRST_LIGHT):
        print(f"{path} {path.stat().st_size} bytes")
    return 0


def _world_map(given: argparse.Namespace) -> int:
    from PIL import Image  # noqa: PLC0415

    from nodes.training.sources import open_rasters  # noqa: PLC0415

    world = open_rasters(given.cache).marble.resize((1440, 720), Image.Resampling.LANCZOS)
    world.save(given.path, "JPEG", quality=80, optimize=True, progressive=True)
    print(f"{given.path} {given.path.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
