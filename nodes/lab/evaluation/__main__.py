"""Command line: `python -m nodes.lab.evaluation --help`."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nodes.contract.config import ConfigError
from nodes.contract.evaluation import read_job
from nodes.errors import ConfidenceError, DataError, ModelError
from nodes.lab.command_line import command_parser

_EXAMPLES = """examples:
  python -m nodes.lab.evaluation job.json                    run a job that `spaceverse eval` has written
  python -m nodes.lab.evaluation job.json --confidence DIR   only train the confidence network

exit status: 0 done, 2 unsuitable job, 130 stopped

nodes/contract/evaluation.py describes the fields of a job. Outcomes are cached: the same job resumes an
interrupted evaluation.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a job and return the exit status."""
    parser = command_parser(
        "evaluation",
        "Evaluate policies with outcomes of both models in an event model of the link.",
        _EXAMPLES,
    )
    parser.add_argument("job", type=Path, metavar="JOB.json", help="job file")
    parser.add_argument(
        "--confidence", type=Path, metavar="DIR", help="only train the confidence network, and save it in DIR"
    )
    options = parser.parse_args(arguments)
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # the parent may have blocked it
        job = read_job(options.job)
        from nodes.lab.evaluation.run import run_job, train_confidence  # torch is slow to import

        if options.confidence is not None:
            _print_calibration(train_confidence(job, options.confidence, Bars()))
        else:
            run_job(job, Bars())
    except (ConfigError, ConfidenceError, DataError, ModelError, ValueError) as error:
        print(f"evaluation: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("evaluation: stopped; computed outcomes are cached", file=sys.stderr)
        return 130
    return 0


def _print_calibration(figures: Mapping[str, Any]) -> None:
    """Print cross-fitted AUROC and ECE against correctness on the training pairs."""
    print(f"{'':24} {'n':>5}  {'AUROC':24} ECE")
    for name, of_head in figures.items():
        auroc, ece = (
            f"{interval['value']:.2f} ({interval['low']:.2f} to {interval['high']:.2f})"
            for interval in (of_head["auroc"], of_head["ece"])
        )
        print(f"{name:24} {of_head['n']:5}  {auroc:24} {ece}")


class Bars:
    """Progress bars on stderr; plain lines where rich is not installed, as on a board."""

    @contextlib.contextmanager
    def step(self, description: str, total: int) -> Iterator[Callable[[], None]]:
        """Show the progress of one part of the work."""
        try:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
        except ImportError:
            print(f"{description}: {total}", file=sys.stderr, flush=True)
            yield lambda: None
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True)) as bars:
            task = bars.add_task(description, total=total)
            yield lambda: bars.advance(task)


if __name__ == "__main__":
    sys.exit(main())
