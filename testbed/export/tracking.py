"""The seam to experiment trackers: what a run has to tell one, whichever it is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from testbed.errors import InputError
from testbed.export.sources import read_results

if TYPE_CHECKING:
    from typing_extensions import Self

FILES = ("report.html", "results.json", "scenario.json")
_OF_SCENARIO = ("name", "speed", "skip_idle", "shaper", "routes", "scheduler", "tls")
_OF_SATELLITES = ("model", "policy", "policy_parameters", "accept_confidence", "send_order")


class Tracker(Protocol):
    """What a tracker of experiments does for one run; MLflow and Weights & Biases need some lines each."""

    def parameters(self, values: Mapping[str, str]) -> None:
        """Take what was configured."""

    def metric(self, name: str, value: float, step: int | None = None) -> None:
        """Take a figure of the whole run, or of one step: a whole second of scenario time."""

    def file(self, path: Path) -> None:
        """Take a file."""


def track_run(folder: Path, tracker: Tracker) -> None:
    """Tell a tracker of a finished run: its parameters, totals, each frame's figures, and files.

    Args:
        folder: the run's folder.
        tracker: the tracker.

    Raises:
        InputError: the folder is not that of a run.
    """
    results = read_results(folder)
    tracker.parameters(run_parameters(folder))
    for name, value in totals_of(results):
        tracker.metric(name, value)
    correct = 0
    frames = sorted(results["frames"], key=lambda frame: frame.get("capture_s") or 0.0)
    for number, frame in enumerate(frames, start=1):
        step = int(frame.get("capture_s") or 0)
        correct += bool(frame.get("correct"))
        tracker.metric("frames/accuracy_so_far", correct / number, step)
        for name in ("end_to_end_s", "confidence", "bytes_sent"):
            if frame.get(name) is not None:
                tracker.metric(f"frames/{name}", float(frame[name]), step)
    for name in FILES:
        if (folder / name).is_file():
            tracker.file(folder / name)


def run_parameters(folder: Path) -> dict[str, str]:
    """Return what was configured; what differs among satellites is listed.

    Raises:
        InputError: the scenario in the folder is missing or damaged.
    """
    path = folder / "scenario.json"
    try:
        scenario = json.loads(path.read_text(encoding="utf-8"))
        satellites, stations = scenario["satellites"], scenario["stations"]
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; name the folder of a run") from None
    except (ValueError, TypeError, KeyError):
        raise InputError(f"{path} is not the scenario of a run") from None
    values = {name: _text(scenario[name]) for name in _OF_SCENARIO if name in scenario}
    values |= {"satellites": str(len(satellites)), "stations": str(len(stations))}
    for name in _OF_SATELLITES:
        own = dict.fromkeys(_text(one[name]) for one in satellites if name in one)
        values[name] = ", ".join(own)
    return values


def totals_of(results: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield the name and value of each figure of the whole run."""
    for name, value in results.get("totals", {}).items():
        if isinstance(value, int | float):
            yield f"totals/{name}", float(value)
        elif isinstance(value, Mapping):
            for part, seconds in value.items():
                yield f"{name}/{part}", float(seconds)
    for link in results.get("links", []):
        for name in ("rtt_error_p50_s", "rtt_error_p99_s", "down_rate_error", "up_rate_error"):
            if link.get(name) is not None:
                yield f"{name}/{link['link']}", float(link[name])


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


class TensorBoardTracker:
    """Context manager that writes event files of TensorBoard; needs tensorboardX.

    Args:
        folder: folder of the event file, one for each run.
    """

    def __init__(self, folder: Path) -> None:
        from tensorboardX import SummaryWriter  # an extra

        self._writer = SummaryWriter(str(folder))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()

    def parameters(self, values: Mapping[str, str]) -> None:
        """Write a table of the parameters, as text."""
        rows = "".join(f"| {name} | {_cell(value)} |\n" for name, value in values.items())
        self._writer.add_text("parameters", f"| parameter | value |\n|---|---|\n{rows}")

    def metric(self, name: str, value: float, step: int | None = None) -> None:
        """Write a scalar; TensorBoard has spaces in names as underscores."""
        self._writer.add_scalar(name.replace(" ", "_"), value, step or 0)

    def file(self, path: Path) -> None:
        """Write where the file is."""
        self._writer.add_text(f"files/{path.name}", str(path.absolute()))


def _cell(value: str) -> str:
    """Return text for a cell of a Markdown table."""
    return value.replace("\n", " ").replace("|", "\\|")
