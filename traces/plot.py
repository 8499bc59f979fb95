"""Plots of a trace: elevation, rate and one-way delay over time, with the contacts shaded.

Where only one direction is up, the shade is paler, and the curves of the other one have a gap.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from traces.errors import OutputFileError
from traces.output_file import is_stdout, replacing
from traces.trace import Bools, Trace

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]

SUFFIXES = (".png", ".svg", ".pdf")
_DOWN, _UP, _DELAY, _ELEVATION, _CONTACT = "#0b5fa5", "#c2571a", "#444444", "#2f7d4f", "#e9f1f8"
_ONE_WAY = "#f6f9fc"


def plot_trace(trace: Trace, path: str | Path, *, force: bool = True) -> None:
    """Plot a trace to a file.

    The elevation is drawn if the trace has the column `elevation_deg`.

    Args:
        trace: the trace.
        path: the file; its suffix (.png, .svg or .pdf) determines the format. "-" is standard output (PNG).
        force: replace an existing file.

    Raises:
        OutputFileError: The suffix is unknown, or the file cannot be written.
    """
    form = format_for(path)
    with replacing(path, force=force) as part:
        figure_of(trace).savefig(part, dpi=150, format=form)


def format_for(path: str | Path) -> str:
    """Return matplotlib's name of an image file's format.

    Raises:
        OutputFileError: The suffix is unknown.
    """
    suffix = ".png" if is_stdout(path) else Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise OutputFileError(f"cannot plot to {path}; expected a name that ends in {', '.join(SUFFIXES)}")
    return suffix[1:]


def figure_of(trace: Trace) -> Figure:
    """Return the matplotlib figure of a trace, for example to add to it."""
    from matplotlib.figure import Figure  # optional, and slow to import
    from matplotlib.ticker import MaxNLocator

    has_elevation = "elevation_deg" in trace.extra
    figure = Figure(figsize=(9, 6 if has_elevation else 4.5), layout="constrained")
    axes = list(np.atleast_1d(figure.subplots(3 if has_elevation else 2, 1, sharex=True)))
    divisor, unit = _time_unit(trace.end_s)
    for axis in axes:
        _shade_contacts(axis, trace, divisor)
        axis.grid(alpha=0.3, lw=0.6)
        axis.spines[["top", "right"]].set_visible(False)
    if has_elevation:
        _draw_elevation(axes.pop(0), trace, divisor)
    _draw_rates(axes[0], trace, divisor)
    _draw_delay(axes[1], trace, divisor)
    axes[1].set_xlim(0, trace.end_s / divisor)
    axes[1].xaxis.set_major_locator(MaxNLocator(nbins=10, steps=[1, 2, 3, 5, 6, 10]))
    axes[1].set_xlabel(f"{unit} since {trace.header.start_utc:%Y-%m-%d %H:%M:%S} UTC")
    figure.suptitle(f"{trace.header.satellite} over {trace.header.station}", fontsize=12, parse_math=False)
    figure.align_ylabels()
    return figure


def _shade_contacts(axis: Axes, trace: Trace, divisor: float) -> None:
    both = trace.contacts("both")
    either = [contact for contact in trace.contacts() if contact not in both]
    for contacts, colour in ((either, _ONE_WAY), (both, _CONTACT)):
        for contact in contacts:
            axis.axvspan(contact.aos_s / divisor, contact.los_s / divisor, color=colour, lw=0)


def _time_unit(end_s: float) -> tuple[float, str]:
    for divisor, unit, least_s in ((3600.0, "hours", 10_800), (60.0, "minutes", 600)):
        if end_s >= least_s:
            return divisor, unit
    return 1.0, "seconds"


def _steps(trace: Trace, values: Floats, up: Bools) -> tuple[Floats, Floats]:
    """Return the step curve of a column, with NaN while its direction is down."""
    shown = np.where(up, values, np.nan)
    return np.append(trace.time_s, trace.end_s), np.append(shown, shown[-1])


def _draw_elevation(axis: Axes, trace: Trace, divisor: float) -> None:
    # A smooth curve, unlike the others, since its points are samples. It includes the row that ends the
    # contact.
    elevation_deg = trace.extra["elevation_deg"]
    shown = trace.up | np.append(False, trace.up[:-1])
    time_s = np.insert(trace.time_s, _starts(trace), trace.time_s[_starts(trace)])
    values = np.insert(np.where(shown, elevation_deg, np.nan), _starts(trace), np.nan)
    axis.plot(time_s / divisor, values, color=_ELEVATION, lw=1.6)
    axis.set_ylabel("elevation\n(degrees)")
    axis.set_ylim(0, 105)  # room for the label of a pass overhead
    axis.set_yticks([0, 30, 60, 90])
    for contact in trace.contacts():
        inside = (trace.time_s >= contact.aos_s) & (trace.time_s < contact.los_s)
        top = np.flatnonzero(inside)[np.nanargmax(elevation_deg[inside])] if inside.any() else None
        if top is not None:
            _label(axis, trace.time_s[top] / divisor, float(elevation_deg[top]), f"{elevation_deg[top]:.0f}°")


def _starts(trace: Trace) -> npt.NDArray[np.intp]:
    return np.flatnonzero(trace.up & ~np.append(False, trace.up[:-1]))


def _label(axis: Axes, x: float, y: float, text: str) -> None:
    axis.annotate(text, (x, y), xytext=(0, 3), textcoords="offset points", ha="center", fontsize=8)


def _draw_rates(axis: Axes, trace: Trace, divisor: float) -> None:
    for values, up, colour, label in (
        (trace.down_bit_s, trace.downlink_up, _DOWN, "downlink"),
        (trace.up_bit_s, trace.uplink_up, _UP, "uplink"),
    ):
        time_s, rate_bit_s = _steps(trace, values, up)
        axis.plot(
            time_s / divisor, rate_bit_s / 1e6, drawstyle="steps-post", color=colour, lw=1.6, label=label
        )
    rates = np.concatenate([trace.down_bit_s[trace.downlink_up], trace.up_bit_s[trace.uplink_up]]) / 1e6
    axis.set_ylabel("rate\n(Mbit/s)")
    if rates.size and rates.max() > 30 * rates.min():
        axis.set_yscale("log")
        axis.set_ylim(rates.min() / 2, rates.max() * 2)
        axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    else:
        axis.set_ylim(0, 1.15 * rates.max() if rates.size else 1)
    axis.legend(loc="lower right", bbox_to_anchor=(1, 0.97), ncols=2, fontsize=8, frameon=False)


def _draw_delay(axis: Axes, trace: Trace, divisor: float) -> None:
    alike = np.array_equal(trace.down_delay_s, trace.up_delay_s) and np.array_equal(trace.up, trace.both_up)
    for values, up, colour, label in (
        (trace.up_delay_s, trace.uplink_up, _UP, "uplink"),
        (trace.down_delay_s, trace.downlink_up, _DELAY if alike else _DOWN, "downlink"),
    ):
        time_s, delay_s = _steps(trace, values, up)
        axis.plot(time_s / divisor, delay_s * 1e3, drawstyle="steps-post", color=colour, lw=1.6, label=label)
    if not alike:
        axis.legend(loc="lower right", bbox_to_anchor=(1, 0.97), ncols=2, fontsize=8, frameon=False)
    axis.set_ylabel("one-way delay\n(ms)")
    shown_s = np.concatenate([trace.down_delay_s[trace.downlink_up], trace.up_delay_s[trace.uplink_up]])
    longest_ms = float(shown_s.max(initial=0)) * 1e3
    axis.set_ylim(0, 1.15 * longest_ms or 1)
