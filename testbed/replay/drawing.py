"""The plot of a replay: requested and carried rates, requested and measured round trips, over time."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from testbed.measure.fidelity import LinkFidelity
from testbed.measure.probe import RTT_FRAME_BYTES
from testbed.measure.requested import Way
from testbed.replay.timeline import Timeline
from traces.trace import Trace

# Okabe-Ito palette: told apart by colour-blind readers too.
_REQUESTED, _CARRIED, _QUEUED, _LOST, _CONTACT = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9"
_LONG_S = 600.0  # from here on the axis counts minutes

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def figure_of(trace: Trace, played: Timeline, fidelity: LinkFidelity | None) -> Figure:
    """Return the plot as a figure, for example to add to it.

    Args:
        trace: what was played.
        played: the replay in bins.
        fidelity: what the probes measured; None leaves the round trips' measurements out.
    """
    figure = Figure(figsize=(10, 7), layout="constrained")
    axes: Sequence[Axes] = figure.subplots(3, 1, sharex=True, height_ratios=(3, 3, 4))
    divisor, unit = (60.0, "minutes") if played.played_s >= _LONG_S else (1.0, "seconds")
    for axis in axes:
        for contact in trace.contacts():
            axis.axvspan(contact.aos_s / divisor, contact.los_s / divisor, color=_CONTACT, alpha=0.12, lw=0)
        axis.grid(alpha=0.3, lw=0.6)
        axis.spines[["top", "right"]].set_visible(False)
    _draw_rate(axes[0], trace, played, "down", divisor)
    _draw_rate(axes[1], trace, played, "up", divisor)
    _draw_round_trips(axes[2], trace, fidelity, divisor)
    for axis, name in zip(axes, ("downlink\nMbit/s", "uplink\nMbit/s", "RTT\nms"), strict=True):
        axis.set_ylabel(name)
        axis.set_ylim(bottom=0)
        axis.legend(fontsize=8, loc="lower right", bbox_to_anchor=(1, 0.97), ncols=4, frameon=False)
    axes[2].set_xlim(0, played.played_s / divisor)
    axes[2].set_xlabel(f"{unit} of the trace (contact shaded)")
    names = f"{trace.header.satellite} over {trace.header.station}"
    figure.suptitle(f"{names}: requested and measured", parse_math=False)
    figure.align_ylabels()
    return figure


def svg(figure: Figure) -> str:
    """Return a figure as an SVG element for HTML."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]


def png(figure: Figure) -> bytes:
    """Return a figure as a PNG file."""
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=150)
    return data.getvalue()


def _steps(trace: Trace, values: Floats, up: Bools) -> tuple[Floats, Floats]:
    shown = np.where(up, values, np.nan)
    return np.append(trace.time_s, trace.end_s), np.append(shown, shown[-1])


def _draw_rate(axis: Axes, trace: Trace, played: Timeline, way: Way, divisor: float) -> None:
    rate_bit_s: Floats = getattr(trace, f"{way}_bit_s")
    up: Bools = getattr(trace, f"{way}link_up")
    time_s, rate = _steps(trace, rate_bit_s, up)
    axis.plot(
        time_s / divisor, rate / 1e6, drawstyle="steps-post", color=_REQUESTED, lw=1.6, label="requested"
    )
    edges_s = np.array([*(one.begin_s for one in played.bins), played.bins[-1].end_s]) / divisor
    for what, colour, dashes in (("offered", "#888888", ":"), ("carried", _CARRIED, "-")):
        values = np.array([getattr(one, f"{way}_{what}_bit_s") for one in played.bins]) / 1e6
        axis.stairs(values, edges_s, label=what, baseline=None, color=colour, lw=1.4, ls=dashes)
    shown = up & (trace.time_s < played.played_s)
    most = max(
        rate_bit_s[shown].max(initial=0.0) / 1e6,
        max(getattr(one, f"{way}_carried_bit_s") for one in played.bins) / 1e6,
    )
    axis.set_ylim(0, 1.15 * most or 1.0)  # what is offered beyond it is cut off


def _draw_round_trips(axis: Axes, trace: Trace, fidelity: LinkFidelity | None, divisor: float) -> None:
    with np.errstate(divide="ignore"):  # no rate outside contacts, where nothing is drawn
        probe_s = RTT_FRAME_BYTES * 8 * (1 / trace.down_bit_s + 1 / trace.up_bit_s)
    time_s, delay_s = _steps(trace, trace.down_delay_s + trace.up_delay_s + probe_s, trace.both_up)
    axis.plot(
        time_s / divisor,
        delay_s * 1e3,
        drawstyle="steps-post",
        color=_REQUESTED,
        lw=1.6,
        label="requested",
    )
    if fidelity is None:
        return
    queued = [one for one in fidelity.queued_rtt if one.queue is not None]
    if queued:
        axis.plot(
            [one.time_s / divisor for one in queued],
            [(one.requested + (one.queue or 0.0)) * 1e3 for one in queued],
            "o",
            color=_QUEUED,
            fillstyle="none",
            ms=6,
            label="requested + queue",
        )
    measured = [(one.time_s, one.measured) for one in fidelity.rtt]
    measured += [(one.time_s, one.measured) for one in fidelity.queued_rtt]
    axis.plot(
        [moment_s / divisor for moment_s, _ in measured],
        [rtt_s * 1e3 for _, rtt_s in measured],
        ".",
        color=_CARRIED,
        ms=5,
        label="measured",
    )
    if fidelity.unanswered_s:
        lost_s = [moment_s / divisor for moment_s in fidelity.unanswered_s]
        axis.plot(lost_s, [0.0] * len(lost_s), "x", color=_LOST, clip_on=False, label="probe lost")
