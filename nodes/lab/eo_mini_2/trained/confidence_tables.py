"""Tables of trained confidence heads."""

from __future__ import annotations

import json
from dataclasses import asdict

from nodes.lab.eo_mini_2.trained.confidence import Trained
from nodes.lab.evaluation.calibration import head_name
from nodes.lab.evaluation.figures import Interval


def show(trained: Trained, *, as_json: bool) -> None:
    """Print the tables, or JSON."""
    from rich.console import Console

    if as_json:
        print(json.dumps(asdict(trained), indent=2, default=str))
        return
    console = Console()
    console.print(_qualities(trained), _thresholds(trained))
    console.print(f"trained on {trained.pairs} prompts, and saved in {trained.folder}", soft_wrap=True)


def _qualities(trained: Trained) -> object:
    from rich.table import Table

    table = Table(
        "prompts",
        "head",
        "n",
        "AUROC within a kind",
        "token probability",
        "difference",
        "ECE",
        title="Confidence in answers about usable frames",
    )
    for one in trained.qualities:
        table.add_row(
            one.group,
            head_name(one.target, one.stage),
            str(one.prompts),
            *(_text(interval) for interval in (one.auroc, one.tokens, one.lead, one.error)),
        )
    return table


def _thresholds(trained: Trained) -> object:
    from rich.table import Table

    table = Table(
        "head",
        "accept from",
        "accepted",
        "and wrong",
        "offload below",
        "offloaded",
        "though right",
        title=f"Thresholds for wrong decisions on {trained.error_rate:.0%} of all prompts",
    )
    for one in trained.thresholds:
        table.add_row(
            head_name(one.target, one.stage),
            f"{one.accept_from:.2f}",
            f"{one.accepted:.0%}",
            _text(one.accepted_wrong),
            f"{one.offload_below:.2f}",
            f"{one.offloaded:.0%}",
            _text(one.offloaded_right),
        )
    return table


def _text(found: Interval | None) -> str:
    return "" if found is None else f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f})"
