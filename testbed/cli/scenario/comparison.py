"""Runs side by side, such as those of one scenario under several policies."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from nodes.contract.evaluation import POLICY_NAMES
from nodes.contract.files import is_policy_file
from testbed.scenario.model import Scenario

if TYPE_CHECKING:
    from rich.table import Table

_NAMES = tuple(name for name in POLICY_NAMES if name != "oracle")  # it knows the truth: in evaluations only


def policy_to_compare(text: str) -> str:
    """Return a policy's name or file.

    Raises:
        argparse.ArgumentTypeError: no policy has this name, or there is no such file.
    """
    if is_policy_file(text):
        if not Path(text).is_file():
            raise argparse.ArgumentTypeError(f"no policy at {text}")
    elif text not in _NAMES:
        near = difflib.get_close_matches(text, _NAMES, n=1)
        hint = f"did you mean {near[0]}?" if near else f"policies: {', '.join(_NAMES)}, or a Python file"
        raise argparse.ArgumentTypeError(f"no policy is called {text!r}; {hint}")
    return text


@dataclass(frozen=True)
class ComparedRun:
    """What is compared of a run.

    Args:
        label: the run's name in the table.
        totals: `totals` of its results.json.
        frames: how many frames it has.
        ends_s: seconds from capture to answer, by frame, of those that were answered.
    """

    label: str
    totals: Mapping[str, Any]
    frames: int
    ends_s: Mapping[tuple[str, str], float]

    @classmethod
    def of(cls, label: str, content: Mapping[str, Any]) -> ComparedRun:
        """Return what is compared of a run with this results.json."""
        frames = content["frames"]
        ends_s = {
            (frame["satellite"], frame["frame"]): frame["end_to_end_s"]
            for frame in frames
            if frame["answer"] is not None
            and frame.get("failure") is None
            and frame["end_to_end_s"] is not None
        }
        return cls(label, content["totals"], len(frames), ends_s)


def comparison_table(
    runs: Sequence[ComparedRun],
    *,
    title: str = "the same frames under each policy",
    first: str = "policy",
) -> Table:
    """Return a row of figures for each run; the mean time is over the frames that all runs answered.

    Args:
        runs: the runs to compare.
        title: title of the table.
        first: heading of the column of labels.
    """
    from rich.box import SIMPLE  # slow to import
    from rich.table import Table

    common = set.intersection(*(set(run.ends_s) for run in runs))
    frames = runs[0].frames
    table = Table(
        title=title,
        caption=f"mean s: from capture to answer, of the {len(common)} of {frames} frames that all answered",
        box=SIMPLE,
        padding=(0, 1, 0, 0),
    )
    table.add_column(first, overflow="fold")
    for heading in ("answered", "on board", "right", "accuracy (95 %)", "kB down", "mean s"):
        table.add_column(heading, justify="right")
    for run in runs:
        totals = run.totals
        low, high = totals["accuracy_95"]
        table.add_row(
            run.label,
            str(totals["answered"]),
            str(totals["answered_on_board"]),
            str(totals["correct"]),
            f"{totals['accuracy']:.2f} ({low:.2f}-{high:.2f})",
            f"{totals['bytes_sent'] / 1e3:,.0f}",
            f"{fmean(run.ends_s[frame] for frame in common):.2f}" if common else "-",
        )
    return table


def policies_of(scenario: Scenario) -> str:
    """Return the names of the policies that the satellites of a scenario have."""
    return ", ".join(dict.fromkeys(satellite.policy for satellite in scenario.satellites))
