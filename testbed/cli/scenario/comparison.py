"""Runs of one scenario under several policies, side by side."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from nodes.contract.evaluation import POLICY_NAMES
from nodes.contract.files import is_policy_file
from testbed.scenario.model import Scenario

if TYPE_CHECKING:
    from rich.table import Table

    from testbed.results.results import Results

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


def comparison_table(flown: Sequence[tuple[Scenario, Results]]) -> Table:
    """Return a row of figures for each run; the mean time is over the frames that all runs answered.

    Args:
        flown: scenario and results of each run; all have the same frames.
    """
    from rich.box import SIMPLE  # slow to import
    from rich.table import Table

    ends_s = [_end_to_end_s(results) for _, results in flown]
    common = set.intersection(*(set(one) for one in ends_s))
    frames = len(flown[0][1].frames)
    table = Table(
        title="the same frames under each policy",
        caption=f"mean s: from capture to answer, of the {len(common)} of {frames} frames that all answered",
        box=SIMPLE,
        padding=(0, 1, 0, 0),
    )
    table.add_column("policy", overflow="fold")
    for heading in ("answered", "on board", "right", "accuracy (95 %)", "kB down", "mean s"):
        table.add_column(heading, justify="right")
    for (scenario, results), own_s in zip(flown, ends_s, strict=True):
        totals = results.totals()
        low, high = totals["accuracy_95"]
        table.add_row(
            policies_of(scenario),
            str(totals["answered"]),
            str(totals["answered_on_board"]),
            str(totals["correct"]),
            f"{totals['accuracy']:.2f} ({low:.2f}-{high:.2f})",
            f"{totals['bytes_sent'] / 1e3:,.0f}",
            f"{fmean(own_s[frame] for frame in common):.2f}" if common else "-",
        )
    return table


def policies_of(scenario: Scenario) -> str:
    """Return the names of the policies that the satellites of a scenario have."""
    return ", ".join(dict.fromkeys(satellite.policy for satellite in scenario.satellites))


def _end_to_end_s(results: Results) -> dict[str, float]:
    return {
        frame.frame: frame.end_to_end_s
        for frame in results.frames
        if frame.answered and frame.end_to_end_s is not None
    }
