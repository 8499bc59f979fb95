"""Plots of an evaluation: accuracy against latency, latency distributions and parts, reliability."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot as plt

from nodes.contract.files import replacing
from nodes.contract.latency import LABELS


def draw_all(folder: Path, results: Mapping[str, Any]) -> list[Path]:
    """Draw all plots from `results.json` and `pairs.csv` in a folder, and return their files."""
    with (folder / "pairs.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [
        _save(folder / "accuracy-latency.png", _accuracy_latency(results["cases"])),
        _save(folder / "latency-cdf.png", _latency_cdf(results["cases"], rows)),
        _save(folder / "latency-parts.png", _latency_parts(results["cases"])),
        _save(folder / "reliability.png", _reliability(results["test"]["calibration"])),
    ]


def _save(path: Path, figure: Any) -> Path:
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
    plt.close(figure)
    return path


def _panels(count: int) -> tuple[Any, list[Any]]:
    figure, axes = plt.subplots(1, count, figsize=(5.2 * count, 4.6), layout="constrained", squeeze=False)
    return figure, list(axes[0])


def pareto(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the Pareto front of (latency, accuracy) points in order of latency."""
    front: list[tuple[float, float]] = []
    for point in sorted(points, key=lambda p: (p[0], -p[1])):
        if not front or point[1] > front[-1][1]:
            front.append(point)
    return front


def _accuracy_latency(cases: Sequence[Mapping[str, Any]]) -> Any:
    figure, axes = _panels(len(cases))
    for axis, case in zip(axes, cases, strict=True):
        points = {
            name: (figures["latency_mean_s"], figures["timely_accuracy"]["value"] * 100)
            for name, figures in case["policies"].items()
        }
        for name, (latency_s, accuracy) in points.items():
            # Policies with equal results share a point: smaller marks over larger ones show all of them.
            size = 14 - 0.9 * list(points).index(name)
            axis.plot(
                latency_s,
                accuracy,
                "*" if name == "oracle" else "o",
                markersize=size,
                label=name,
                linestyle="none",
            )
        front = pareto([point for name, point in points.items() if name != "oracle"])
        axis.step(*zip(*front, strict=True), where="post", color="grey", linewidth=0.8)
        axis.set(xlabel="mean latency, s", ylabel="timely accuracy, %", title=_title(case))
    axes[-1].legend(fontsize=7)
    return figure


def _latency_cdf(cases: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, str]]) -> Any:
    figure, axes = _panels(len(cases))
    for axis, case in zip(axes, cases, strict=True):
        for name in case["policies"]:
            here = [r for r in rows if r["policy"] == name and r["case"] == case["name"]]
            answered = np.sort([float(r["latency_s"]) for r in here if r["answered"] == "True"])
            axis.step(answered, np.arange(1, len(answered) + 1) / max(1, len(here)), where="post", label=name)
        axis.set(xscale="log", xlabel="latency, s", ylabel="share of frames answered", title=_title(case))
    axes[-1].legend(fontsize=7)
    return figure


def _latency_parts(cases: Sequence[Mapping[str, Any]]) -> Any:
    figure, axes = _panels(len(cases))
    for axis, case in zip(axes, cases, strict=True):
        names = list(case["policies"])
        left = np.zeros(len(names))
        for part, label in LABELS.items():
            widths = np.array([case["policies"][name]["latency_parts_mean_s"][part] or 0.0 for name in names])
            axis.barh(names, widths, left=left, label=label)
            left += widths
        axis.set(xlabel="mean time of answered frames, s", title=_title(case))
        axis.tick_params(axis="y", labelsize=7)
    axes[-1].legend(fontsize=7)
    return figure


def _reliability(calibration: Mapping[str, Any]) -> Any:
    figure, (axis,) = _panels(1)
    axis.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    for name, figures in calibration.items():
        points = [(bin_["confidence"], bin_["accuracy"]) for bin_ in figures["reliability"]]
        axis.plot(*zip(*points, strict=True), "o-", label=name, markersize=3)
    axis.set(xlabel="confidence", ylabel="share correct", title="reliability on the test pairs")
    axis.legend(fontsize=7)
    return figure


def _title(case: Mapping[str, Any]) -> str:
    return f"{case['name']}, load {case['load']:.2g}"
