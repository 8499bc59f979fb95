"""Reads what is exported: the folder of a run, a scenario, a trace, or a table of passes."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from testbed.errors import InputError
from testbed.export.scene import Capture, Scene, SceneLink, scene_of
from testbed.run.traces import link_traces
from testbed.scenario.file import load_scenario
from traces.errors import TraceError
from traces.orbits.elements import find_satellite, read_elements
from traces.orbits.stations import station
from traces.trace import Trace
from traces.trace_file import read_trace
from traces.utc import parse_utc

PASS_COLUMNS = {"satellite", "station", "aos_utc", "los_utc"}


def read_scene(source: Path, elements: Path) -> Scene:
    """Return the scene of a run's folder, a scenario, a trace, or a table of `trace passes --csv`.

    Args:
        source: the folder or file.
        elements: file of element sets, for a table of passes.

    Raises:
        InputError: the source is none of these, or has no orbits.
    """
    if source.is_dir():
        return _run_scene(source)
    if source.suffix in (".py", ".json"):
        scenario = load_scenario(source)
        captures = [
            Capture(frame.frame, satellite.name, frame.capture_s, (("prompt", frame.prompt),))
            for satellite in scenario.satellites
            for frame in satellite.frames
        ]
        return scene_of(scenario.name, link_traces(scenario).values(), captures)
    if is_pass_table(source):
        return _pass_scene(source, elements)
    return scene_of(source.stem, [read_trace(source)])


def run_traces(folder: Path) -> list[Trace]:
    """Return the traces that a run played.

    Raises:
        InputError: the folder is not that of a run.
    """
    if not (folder / "scenario.json").is_file():
        raise InputError(f"{folder} is not the folder of a run: it has no scenario.json")
    return [
        read_trace(path)
        for path in sorted((folder / "traces").glob("*.csv"))
        if not path.stem.endswith("-compensated")  # of a board's link: the trace less the board's own delay
    ]


def read_results(folder: Path) -> dict[str, Any]:
    """Return the content of a run's results.json.

    Raises:
        InputError: there is none, or it is damaged.
    """
    path = folder / "results.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; name the folder of a run that has ended") from None
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}") from None
    if not isinstance(content, dict) or not isinstance(content.get("frames"), list):
        raise InputError(f"{path} is not the result of a run")
    return content


def _run_scene(folder: Path) -> Scene:
    traces = run_traces(folder)
    results = read_results(folder)
    captures = [_capture(frame) for frame in results["frames"] if frame.get("capture_s") is not None]
    return scene_of(str(results.get("scenario", folder.name)), traces, captures)


def _capture(frame: dict[str, Any]) -> Capture:
    labels = ("prompt", "truth", "answer", "answered_by", "confidence", "end_to_end_s", "bytes_sent")
    facts = tuple((label, str(frame[label])) for label in labels if frame.get(label) is not None)
    return Capture(frame["frame"], frame["satellite"], frame["capture_s"], facts, frame.get("correct"))


def is_pass_table(path: Path) -> bool:
    """Return whether a file is a table of `trace passes --csv`. Raises InputError if it cannot be read."""
    if path.is_dir():
        return False
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return set(next(csv.reader(file), ())) >= PASS_COLUMNS
    except FileNotFoundError:
        raise InputError(
            f"{path} does not exist; name the folder of a run, a scenario (.py or .json), a trace, "
            "or a table of passes"
        ) from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error):
        return False


def _pass_scene(path: Path, elements: Path) -> Scene:
    """Return the scene of a table of passes; its times are in UTC, and second 0 is the first AOS."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        raise InputError(f"{path} lists no pass")
    for number, row in enumerate(rows, start=1):
        if None in row or None in row.values():
            raise InputError(f"{path}: pass {number} has not one value in each column; is the file cut off?")
    known = read_elements(elements)
    try:
        spans = [(parse_utc(row["aos_utc"]), parse_utc(row["los_utc"])) for row in rows]
    except TraceError as error:
        raise InputError(f"{path}: {error}") from None
    start_utc = min(begin for begin, _ in spans)
    contacts: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for row, (begin, end) in zip(rows, spans, strict=True):
        span = ((begin - start_utc).total_seconds(), (end - start_utc).total_seconds())
        contacts.setdefault((row["satellite"], row["station"]), []).append(span)
    satellites = {name: find_satellite(known, name, at_utc=start_utc) for name, _ in contacts}
    return Scene(
        name=path.stem,
        start_utc=start_utc,
        length_s=max(end for spans in contacts.values() for _, end in spans),
        satellites=tuple(replace(orbit, name=name) for name, orbit in satellites.items()),
        stations=tuple(station(name) for name in dict.fromkeys(name for _, name in contacts)),
        links=tuple(SceneLink(ends, tuple(spans)) for ends, spans in contacts.items()),
    )
