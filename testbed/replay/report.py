"""`report.html` of a replay: one self-contained file with its plot and tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import jinja2

from testbed.replay.table import Tables
from traces.trace import Trace

_TEMPLATES = Path(__file__).parent / "data"


def render(
    title: str, trace: Trace, shown: Tables, plot_svg: str, facts: Mapping[str, str], notes: tuple[str, ...]
) -> str:
    """Return the report as HTML.

    Args:
        title: its heading.
        trace: what was played.
        shown: the tables.
        plot_svg: the plot, an SVG element.
        facts: how it was played, by name.
        notes: of the replay.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template("replay.html.j2").render(
        title=title, header=trace.header, shown=shown, plot=plot_svg, facts=facts, notes=notes
    )
