"""Command line: `python -m nodes.lab.evaluation --help`."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nodes.contract.config import ConfigError
from nodes.contract.evaluation import read_job
from nodes.errors import ConfidenceError, DataError, ModelError

_EXAMPLES = """examples:
  python -m nodes.lab.evaluation job.json                    run what `spaceverse eval` has written
  python -m nodes.lab.evaluation job.json --confidence DIR  only train that job's confidence network, into DIR

exit status: 0 done, 2 the job cannot be done as it stands, 130 stopped; the fields of a job are described in
nodes/contract/evaluation.py.  Outcomes are kept: the same job goes on where it was stopped.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a job; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m nodes.lab.evaluation",
        description="Measure policies: model outcomes once, then an event model of board, link and ground.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("job", type=Path, help="JSON file")
    parser.add_argument(
        "--confidence", type=Path, metavar="DIR", help="train the network into DIR, then stop"
    )
    options = parser.parse_args(arguments)
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # who starts this may have held it back
        job = read_job(options.job)
        from nodes.lab.evaluation.run import run_job, train_confidence  # torch is slow to import

        if options.confidence is not None:
            _print_calibration(train_confidence(job, options.confidence, _Bars()))
        else:
            run_job(job, _Bars())
    except (ConfigError, ConfidenceError, DataError, ModelError, ValueError) as error:
        print(f"evaluation: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("evaluation: stopped; what was computed is kept", file=sys.stderr)
        return 130
    return 0


def _print_calibration(figures: Mapping[str, Any]) -> None:
    """AUROC and ECE against correctness, cross-fitted on the pairs that were trained on."""
    print(f"{'':24} {'n':>5}  {'AUROC':24} ECE")
    for name, one in figures.items():
        auroc, ece = (
            f"{one[key]['value']:.2f} ({one[key]['low']:.2f} to {one[key]['high']:.2f})"
            for key in ("auroc", "ece")
        )
        print(f"{name:24} {one['n']:5}  {auroc:24} {ece}")


class _Bars:
    """Progress bars on stderr; plain lines where rich is not installed, as on a board."""

    @contextlib.contextmanager
    def step(self, description: str, total: int) -> Iterator[Callable[[], None]]:
        """Show one part of the work."""
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
