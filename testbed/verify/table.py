"""The table and the plot of `spaceverse verify`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from nodes.contract.files import replacing
from testbed.verify.checks import Check, Unit
from testbed.verify.pass_measurement import AlongPass


def checks_table(checks: Sequence[Check], title: str, caption: str) -> Table:
    """Return a table of requested and measured values, errors, bounds and verdicts; fits 80 columns."""
    table = Table(title=title, caption=caption, box=SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("check", min_width=20, overflow="fold")
    for heading in ("requested", "measured", "error", "bound", "n"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    group = ""
    for check in checks:
        if group not in ("", check.group):
            table.add_section()
        group = check.group
        table.add_row(
            check.what,
            quantity(check.requested, check.unit),
            quantity(check.measured, check.unit),
            quantity(check.error, check.error_unit),
            bound_text(check),
            str(check.samples),
            verdict_text(check),
        )
    return table


def verdict_text(check: Check) -> Text:
    """Return the verdict and its colour; empty for rows without a bound."""
    if not check.ok:
        return Text("FAIL", "bold red")
    return Text("pass", "green") if check.checked else Text("")


def bound_text(check: Check) -> str:
    """Return the bounds of the error as text."""
    if not check.checked:
        return "shown"
    most, unit = _scaled(check.most, check.error_unit)
    least, _ = _scaled(check.least, check.error_unit)
    if check.least == check.most:
        return f"{most:g}"
    if check.least in (0, -math.inf):
        return f"<= {most:.3g} {unit}"
    if math.isclose(check.least, -check.most):
        return f"+- {most:.3g} {unit}"
    return f"{least:+.1f} {most:+.1f} {unit}"


def quantity(value: float | None, unit: Unit) -> str:
    """Return a value with its unit, scaled for reading."""
    if value is None:
        return "-"
    scaled, word = _scaled(value, unit)
    return f"{scaled:g}" if word == "" else f"{scaled:.2f} {word}" if word == "%" else f"{scaled:.3f} {word}"


def _scaled(value: float, unit: Unit) -> tuple[float, str]:
    match unit:
        case "s":
            return value * 1e3, "ms"
        case "bit/s":
            return value / 1e6, "Mbit/s"
        case "share":
            return value * 100, "%"
        case _:
            return value, ""


def plot_pass(along: AlongPass, title: str, path: Path) -> None:
    """Draw requested and measured RTT along the pass, and the error below it; png, svg or pdf by suffix."""
    from matplotlib.figure import Figure  # slow to import

    figure = Figure(figsize=(9, 6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    upper.plot(along.time_s, along.measured_rtt_s * 1e3, ".", markersize=3, label="measured")
    upper.plot(along.time_s, along.requested_rtt_s * 1e3, linewidth=1, label="requested")
    upper.set(title=title, ylabel="RTT, ms")
    upper.legend()
    lower.plot(along.time_s, (along.measured_rtt_s - along.requested_rtt_s) * 1e3, ".", markersize=3)
    lower.axhline(0, linewidth=0.5, color="black")
    lower.set(xlabel="time since the trace's start, s", ylabel="measured - requested, ms")
    with replacing(path) as part:
        figure.savefig(part, dpi=150, format=path.suffix[1:])
