"""The plan of a scenario as a picture: map, contacts and backlog."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from testbed.planning.plan import Plan
from testbed.results.drawings import NAMED_PATHS, draw_map
from traces.output_file import replacing
from traces.plot import format_for

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CONTACT_COLOUR = "#0072B2"


def draw_plan(plan: Plan, path: Path, *, force: bool = True) -> None:
    """Draw a plan to a file.

    Args:
        plan: the plan.
        path: the file; its suffix (.png, .svg or .pdf) determines the format. "-" is standard output (PNG).
        force: replace an existing file.

    Raises:
        OutputFileError: the suffix is unknown, or the file cannot be written.
    """
    form = format_for(path)
    with replacing(path, force=force) as part:
        figure_of(plan).savefig(part, dpi=120, format=form)


def figure_of(plan: Plan) -> Figure:
    """Return the matplotlib figure of a plan; without a map if no link follows an orbit."""
    from matplotlib.figure import Figure  # slow to import

    contacts_in = 0.8 + 0.18 * len(plan.links)
    heights_in = [*([5.6] if plan.tracks else []), contacts_in, 2.8]
    figure = Figure(figsize=(11, sum(heights_in)), layout="constrained")
    axes = list(figure.subplots(len(heights_in), 1, height_ratios=heights_in))
    if plan.tracks:
        draw_map(axes.pop(0), plan.tracks)
    _draw_contacts(axes[0], plan)
    _draw_backlog(axes[1], plan)
    axes[1].sharex(axes[0])
    start = plan.links[0].trace.header.start_utc
    axes[1].set_xlabel(f"seconds since {start:%Y-%m-%d %H:%M:%S} UTC")
    figure.suptitle(plan.scenario.name, fontsize=12, parse_math=False)
    return figure


def _draw_contacts(axes: Axes, plan: Plan) -> None:
    for row, link in enumerate(plan.links):
        spans = [(contact.aos_s, contact.duration_s) for contact in link.contacts]
        axes.broken_barh(spans, (row - 0.35, 0.7), color=_CONTACT_COLOUR)
    axes.set_yticks(range(len(plan.links)), [link.name for link in plan.links], fontsize=7)
    for label in axes.get_yticklabels():
        label.set_parse_math(False)
    axes.set(xlim=(0, plan.end_s), ylim=(len(plan.links) - 0.5, -0.5), title="contacts")
    axes.grid(axis="x", alpha=0.3, lw=0.6)


def _draw_backlog(axes: Axes, plan: Plan) -> None:
    for load in plan.loads:
        axes.plot(load.backlog.time_s, load.backlog.size_bytes / 1e6, lw=1.4, label=load.satellite)
    axes.set(ylabel="backlog, MB", title="expected backlog, if every image is sent whole")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3, lw=0.6)
    if len(plan.loads) <= NAMED_PATHS:
        for text in axes.legend(loc="upper left", fontsize=8).get_texts():
            text.set_parse_math(False)
