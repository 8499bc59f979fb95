"""The pictures of a report, as SVG text: the frames' timeline, the links, the ground track."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from nodes.contract.latency import LABELS, PARTS
from testbed.measure.fidelity import LinkFidelity, Sample
from testbed.results.faults import FaultRecord
from testbed.results.latency import FrameResult
from testbed.results.nodes.power import PowerRecord
from traces.trace import Trace

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHORTEST_SPAN_S = 1.0  # of a mean power
SAMPLES_MAX = 1000  # in a plot of a link, 11 inches wide

NAMED_PATHS = 12  # of more satellites, the legend would cover the map

WORLD_MAP = Path(__file__).parent / "data" / "blue-marble.jpg"

# Okabe-Ito palette: told apart by colour-blind readers too.
_COLOURS = dict(
    zip(
        PARTS,
        ("#999999", "#0072B2", "#F0E442", "#E69F00", "#D55E00", "#CC79A7", "#009E73", "#000000"),
        strict=True,
    )
)


@dataclass(frozen=True)
class Track:
    """The path of the point below a satellite, degrees; `run` marks the samples inside the run.

    `circle` has latitude and longitude of the points from which the satellite rises for the station.
    """

    satellite: str
    latitude_deg: npt.NDArray[np.float64]
    longitude_deg: npt.NDArray[np.float64]
    run: npt.NDArray[np.bool_]
    station: str
    station_latitude_deg: float
    station_longitude_deg: float
    circle: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None = None


def timeline(
    frames: Sequence[FrameResult], traces: Sequence[Trace], faults: Sequence[FaultRecord] = ()
) -> str:
    """Return one bar per frame from capture to answer, coloured by the parts of its latency.

    Args:
        frames: the frames.
        traces: of all links, whose contacts are shaded.
        faults: of the scenario; each has a line of its own above the frames.
    """
    from matplotlib.patches import Patch

    figure = _figure(1.4 + 0.27 * (len(frames) + len(faults)))
    axes = figure.add_subplot()
    _shade_contacts(axes, traces)
    for row, frame in enumerate(frames):
        left = frame.capture_s
        if frame.latency is None:
            axes.plot(left, row, "x", color="red")
            axes.annotate(
                "  failed" if frame.failure else "  no answer", (left, row), va="center", fontsize=7
            )
            continue
        for part in PARTS:
            width = getattr(frame.latency, part)
            axes.barh(row, width, left=left, color=_COLOURS[part], height=0.7)
            left += width
        by = "board" if frame.answered_by == "satellite" else "ground"
        axes.annotate(f" {by}, {'right' if frame.correct else 'wrong'}", (left, row), va="center", fontsize=7)
    handles = [Patch(color=_COLOURS[p], label=LABELS[p]) for p in PARTS]
    axes.legend(
        handles=handles, ncols=len(handles), fontsize=7, loc="lower center", bbox_to_anchor=(0.5, 1.0)
    )
    end_s = max((trace.end_s for trace in traces), default=0.0)
    for row, fault in enumerate(faults, start=-len(faults)):
        until_s = max(end_s, fault.at_s) if fault.until_s is None else fault.until_s
        axes.barh(row, until_s - fault.at_s, left=fault.at_s, color="#D55E00", height=0.7, hatch="///")
    names = [*(f"{fault.what}: {fault.target}" for fault in faults), *(f.frame for f in frames)]
    axes.set_yticks(range(-len(faults), len(frames)), names, fontsize=7)
    for label in axes.get_yticklabels():
        label.set_parse_math(False)
    axes.invert_yaxis()
    axes.set_xlabel("scenario time, s (contact shaded)")
    return _svg(figure)


def link_record(link: LinkFidelity, trace: Trace) -> str:
    """Return the configured and measured RTT and downlink rate of one link over the run."""
    figure = _figure(4)
    above, below = figure.subplots(2, 1, sharex=True)
    for axes, samples, factor, label in (
        (above, link.rtt, 1e3, "RTT, ms"),
        (below, link.down_rate, 1e-6, "downlink, Mbit/s"),
    ):
        _shade_contacts(axes, [trace])
        drawn = _thinned(samples)
        times = [s.time_s for s in drawn]
        axes.plot(
            times,
            [s.requested * factor for s in drawn],
            color="#0072B2",
            label="configured",
            drawstyle="steps-post",
        )
        axes.plot(times, [s.measured * factor for s in drawn], ".", color="#D55E00", label="measured", ms=3)
        axes.set_ylabel(label)
    above.legend(fontsize=7, loc="upper right")
    below.set_ylim(0, 1.2 * max((max(s.requested, s.measured) * 1e-6 for s in link.down_rate), default=1.0))
    below.set_xlabel("scenario time, s (contact shaded)")
    return _svg(figure)


def power_record(record: PowerRecord) -> str:
    """Return charge, temperature and power of a satellite over the run, with its eclipses shaded."""
    figure = _figure(5.5)
    above, middle, below = figure.subplots(3, 1, sharex=True)
    states = record.states
    times_s = [state.at_s for state in states]
    for axes in (above, middle, below):
        for begin_s, end_s in record.spans(lambda state: not state.sunlit):
            axes.axvspan(begin_s, end_s, color="#999999", alpha=0.3, lw=0)
    for begin_s, end_s in record.spans(lambda state: not state.compute):
        above.axvspan(begin_s, end_s, 0, 0.06, color="#D55E00", lw=0)
    above.plot(times_s, [100 * state.charge for state in states], color="#0072B2", label="charge")
    for floor, label in ((record.power.compute_floor, "inference"), (record.power.radio_floor, "radio")):
        above.axhline(100 * floor, color="#D55E00", lw=0.8, ls="--")
        above.annotate(f" {label} stops", (times_s[0], 100 * floor), va="bottom", fontsize=7)
    above.set(ylim=(0, 102), ylabel="charge, %")
    middle.plot(times_s, [state.temperature_c for state in states], color="#D55E00")
    middle.set_ylabel("temperature, deg C")
    spans = [(early, late) for early, late in pairwise(states) if late.at_s - early.at_s >= SHORTEST_SPAN_S]
    for energy, colour, label in (("input_j", "#E69F00", "solar panels"), ("used_j", "#0072B2", "loads")):
        mean_w = [(getattr(b, energy) - getattr(a, energy)) / (b.at_s - a.at_s) for a, b in spans]
        below.plot([late.at_s for _, late in spans], mean_w, color=colour, label=label, lw=0.8)
    below.legend(fontsize=7, loc="upper right")
    below.set_ylabel("mean power, W")
    below.set_xlabel("scenario time, s (eclipse shaded; bar at the bottom: no inference)")
    return _svg(figure)


def _thinned(samples: Sequence[Sample]) -> list[Sample]:
    """Return samples for a plot: of too many, the one with the largest error of each group."""
    size = -(-len(samples) // SAMPLES_MAX) or 1
    groups = (samples[first : first + size] for first in range(0, len(samples), size))
    return [max(group, key=lambda s: abs(s.measured - s.requested)) for group in groups]


def ground_track(tracks: Sequence[Track]) -> str:
    """Return a world map with each satellite's path, the part of the run in bold, and its station."""
    figure = _figure(5.6)
    draw_map(figure.add_subplot(), tracks)
    return _svg(figure)


def draw_map(axes: Axes, tracks: Sequence[Track]) -> None:
    """Draw a world map with paths, stations and the circles in which a station sees the satellites."""
    axes.set_facecolor("#dfe7ee")
    if WORLD_MAP.exists():
        from matplotlib.image import imread

        axes.imshow(imread(WORLD_MAP, format="jpeg"), extent=(-180, 180, -90, 90), interpolation="bilinear")
    named: set[str] = set()  # a satellite of several stations has a track for each
    for track in tracks:
        longitude, latitude = _broken_at_date_line(track.longitude_deg, track.latitude_deg)
        if track.satellite not in named:
            axes.plot(longitude, latitude, color="white", lw=0.8, alpha=0.8)
            longitude, latitude = _broken_at_date_line(
                track.longitude_deg[track.run], track.latitude_deg[track.run]
            )
            axes.plot(
                longitude,
                latitude,
                color="#F0E442",
                lw=3 if len(tracks) <= NAMED_PATHS else 1,
                label=track.satellite,
            )
        named.add(track.satellite)
    for track in {track.station: track for track in tracks}.values():
        if track.circle is not None:
            longitude, latitude = _broken_at_date_line(track.circle[1], track.circle[0])
            axes.plot(longitude, latitude, color="#D55E00", lw=1)
        axes.plot(track.station_longitude_deg, track.station_latitude_deg, "^", color="#D55E00", ms=8)
        axes.annotate(
            f" {track.station}",
            (track.station_longitude_deg, track.station_latitude_deg),
            color="white",
            fontsize=9,
            parse_math=False,  # a name may have a $
        )
    axes.set(xlim=(-180, 180), ylim=(-90, 90), xlabel="longitude, deg", ylabel="latitude, deg")
    if len(named) <= NAMED_PATHS:
        title = "path during the run, at most an orbit"
        for text in axes.legend(loc="lower left", fontsize=8, title=title).get_texts():
            text.set_parse_math(False)


def _broken_at_date_line(
    longitude_deg: npt.NDArray[np.float64], latitude_deg: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    jumps = np.flatnonzero(np.abs(np.diff(longitude_deg)) > 180) + 1
    return np.insert(longitude_deg, jumps, np.nan), np.insert(latitude_deg, jumps, np.nan)


def _shade_contacts(axes: Axes, traces: Sequence[Trace]) -> None:
    for trace in traces:
        for contact in trace.contacts():
            axes.axvspan(contact.aos_s, contact.los_s, color="#56B4E9", alpha=0.15, lw=0)


def _figure(height_in: float) -> Figure:
    from matplotlib.figure import Figure  # slow to import, and drawn with at the end of a run

    return Figure(figsize=(11, height_in), layout="constrained")


def _svg(figure: Figure) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]
