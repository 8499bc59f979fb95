"""Command line of the training: `python -m nodes.lab.training --help`.

Each subcommand imports what it needs: torch is slow to import, and `data` does without it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from nodes.lab.eo_mini.packages import DEFAULT_CACHE, SourceError

_EXAMPLES = """examples:
  python -m nodes.lab.training data                        fetch the imagery, draw 6,400 frames (1.7 GB)
  python -m nodes.lab.training train compact
  python -m nodes.lab.training train regular --resume      goes on where it was interrupted
  python -m nodes.lab.training train compact --seed 1 --out seeds/compact-1
  python -m nodes.lab.training evaluate compact regular    measure on the test split, write the cards
  python -m nodes.lab.training evaluate regular --show     numbers of its evaluation.csv, without asking it
  python -m nodes.lab.training world-map map.jpg           the Blue Marble, small
"""


def main(arguments: list[str] | None = None) -> int:
    """Run one subcommand; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m nodes.lab.training",
        description="Builds the imagery's questions, trains the small pair, measures it.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--cache", type=Path, default=DEFAULT_CACHE, help="where imagery is kept (%(default)s)"
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("data", help="fetch the imagery and draw the frames").set_defaults(run=_data)
    _add_train(commands)
    _add_evaluate(commands)
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
    parser = commands.add_parser("train", help="train one model of the pair, or the control")
    parser.add_argument("model", choices=("compact", "regular", "regular-reduced"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="folder for the model (the one that ships)")
    parser.add_argument("--resume", action="store_true", help="go on from the folder's training-state.pt")
    parser.add_argument("--threads", type=int, default=1, help="torch threads (%(default)s)")
    parser.add_argument(
        "--device",
        help="as torch names it (an accelerator if any, else cpu, with steps for it)",
    )
    parser.set_defaults(run=_train)


def _data(given: argparse.Namespace) -> int:
    from nodes.lab.eo_mini.packages import fetch

    for path in fetch(given.cache):
        print(path)
    frames = _frames(given.cache)
    print(f"{frames[0].path.parent.parent}: {len(frames)} frames")
    return 0


def _frames(cache: Path) -> list[Any]:
    """All training frames; draws what is missing, with a bar."""
    from rich.progress import Progress

    from nodes.lab.training.examples.frames import FRAMES_PER_SET, SETS, training_frames

    with Progress(transient=True) as bar:
        task = bar.add_task("training frames", total=FRAMES_PER_SET * SETS)
        return training_frames(cache, SETS, lambda count: bar.update(task, completed=count))


def _train(given: argparse.Namespace) -> int:
    import torch
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from nodes.lab.training.architecture import ON_A_PROCESSOR, RECIPES
    from nodes.lab.training.examples.practice import practice_windows
    from nodes.lab.training.train import Training, halves_are_faster, wants_windows
    from nodes.models import FOLDER

    torch.set_num_threads(given.threads)
    device = given.device or ("cuda" if torch.cuda.is_available() else "cpu")
    folder = given.out or FOLDER / given.model
    recipe = (RECIPES | ON_A_PROCESSOR if device == "cpu" else RECIPES)[given.model]
    frames = _frames(given.cache)
    practises = wants_windows(recipe, folder, resume=given.resume)
    training = Training(
        recipe,
        frames,
        practice_windows(given.cache) if practises else None,
        folder,
        seed=given.seed,
        device=device,
        half=device != "cpu" or halves_are_faster(),
        resume=given.resume,
    )
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as bar:
        task = bar.add_task(given.model, total=training.steps)

        def on_step(step: int, steps: int, losses: dict[str, float]) -> None:
            told = " ".join(f"{name} {value:.3f}" for name, value in losses.items())
            bar.update(task, completed=step, description=f"{given.model} {told}")
            if not bar.console.is_terminal and step % 50 == 0:
                bar.console.print(f"{given.model} step {step} of {steps}: {told}", highlight=False)

        progress = training.run(on_step)
    print(f"{folder}: {progress.step} steps, {progress.cpu_s / 60:.1f} CPU minutes")
    return 0


def _add_evaluate(commands: Any) -> None:
    parser = commands.add_parser("evaluate", help="measure models on the test split, write the cards")
    parser.add_argument("models", nargs="+", help="compact, regular, or a folder that `train --out` wrote")
    parser.add_argument("--show", action="store_true", help="only print the card of the last evaluation")
    parser.set_defaults(run=_evaluate)


def _evaluate(given: argparse.Namespace) -> int:
    from nodes.lab.training.examples.frames import SETS, training_prompts
    from nodes.lab.training.measure import evaluate_folders, show_card
    from nodes.models import FOLDER

    folders = [FOLDER / name if (FOLDER / name).is_dir() else Path(name) for name in given.models]
    if given.show:
        for folder in folders:
            print(show_card(folder))
        return 0
    evaluate_folders(folders, training_prompts(given.cache, SETS), _validation(given.cache))
    return 0


def _validation(cache: Path) -> Path:
    """The val split, drawn where it is not kept yet."""
    from nodes.lab.eo_mini.build import FRAMES, draw_frames, write
    from nodes.lab.eo_mini.sources import open_sources

    folder = cache / "val"
    if not (folder / "prompts.jsonl").is_file():
        write(draw_frames(open_sources(cache), "val", FRAMES["val"], 0), folder)
    return folder


def _world_map(given: argparse.Namespace) -> int:
    from PIL import Image

    from nodes.lab.eo_mini.packages import open_rasters

    world = open_rasters(given.cache).marble.resize((1440, 720), Image.Resampling.LANCZOS)
    world.save(given.path, "JPEG", quality=80, optimize=True, progressive=True)
    print(f"{given.path} {given.path.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
